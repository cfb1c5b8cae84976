import { closeSync, openSync, readSync } from "node:fs";
import {
  astype,
  type Bits,
  loadBytes,
  type MxArray,
  type QuantizedMatrix,
  quantize,
  scope,
} from "@mflux-depth/mlx";
import type { Checkpoint, StoredTensor } from "../format.js";
import { ggufMatrix, ggufValues, isAffine, keptGroupSize } from "./blocks.js";
import { type GgufTensor, readGgufHeader } from "./header.js";
import type { GgufType } from "./types.js";

/** Tells whether a file begins like GGUF. */
export function isGguf(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const start = Buffer.alloc(4);
    return readSync(file, start, 0, 4, 0) === 4 && start.toString("latin1") === "GGUF";
  } finally {
    closeSync(file);
  }
}

/** Bytes per value while blocks become values: the result and its two factors in float32, and the integers before. */
const decodingBytes = 14;

export interface BlockOptions {
  /**
   * Gives matrices of blocks in MLX's affine quantization. If most of the file's values have at most this many bits, all types
   * that MLX can hold stay as they are, in groups of 32; the others become values, and are quantized again to this many bits
   * or their own, whichever is more. If most have more, those matrices are quantized again to this many bits. Without it, all
   * blocks become values.
   */
  readonly blockBits?: Bits | null | undefined;
}

/**
 * Opens a GGUF file. Blocks become float32 when they are read, or quantized matrices. Its header is checked, but no tensor
 * is read.
 * @throws {ModelError} if it is damaged, or has a type that is not read.
 */
export function openGguf(path: string, { blockBits = null }: BlockOptions = {}): Checkpoint {
  const { tensors, fields } = readGgufHeader(path);
  const entries = new Map<string, StoredTensor>();
  const matrices = blockBits === null ? new Map<string, BlockMatrix>() : blockMatrices(tensors, blockBits);
  let [bytes, largest] = [0, 0];
  for (const [name, { type, shape, bytes: size }] of tensors) {
    bytes += size;
    const matrix = matrices.get(name);
    if (matrix) {
      const [rows, columns] = matrix.size;
      entries.set(name, { dtype: "U32", shape: [rows, (columns * matrix.bits) / 32], bytes: size });
      const factors = { dtype: "F16", shape: [rows, columns / matrix.groupSize], bytes: 0 };
      for (const factor of factorsOf(name)) entries.set(factor, factors);
    } else entries.set(name, { dtype: type.name, shape, bytes: size });
    const values = (size / type.bytes) * type.values;
    largest = Math.max(largest, type.values > 1 ? decodingBytes * values : size);
  }
  return {
    source: path,
    files: [path],
    fileOf: new Map(Array.from(entries.keys(), (name) => [name, path])),
    entries,
    metadata: new Map(Array.from(fields, ([name, value]) => [name, String(value)])),
    bytes,
    largest,
    ...(matrices.size > 0 && { hasQuantizedBlocks: true }),
    *tensors() {
      const all = [...tensors];
      const stored = loadBytes(
        path,
        all.map(([, tensor]) => tensor),
      );
      try {
        for (const [index, [name, { type, shape }]] of all.entries()) {
          const matrix = matrices.get(name);
          const made = scope((): [string, MxArray][] => {
            if (!matrix) return [[name, ggufValues(stored[index]!, type, shape)]];
            const { weight, scales, biases } = quantizedMatrix(stored[index]!, type, matrix);
            const [scalesName, biasesName] = factorsOf(name);
            return [
              [name, weight],
              [scalesName, scales],
              [biasesName, biases],
            ];
          });
          stored[index]!.dispose();
          yield* made;
        }
      } finally {
        for (const one of stored) one.dispose();
      }
    },
  };
}

/** The names of the scales and biases of a quantized matrix. */
const factorsOf = (weight: string): readonly [scales: string, biases: string] => [
  weight.replace(/weight$/, "scales"),
  weight.replace(/weight$/, "biases"),
];

/** A matrix of blocks in MLX's affine quantization. */
interface BlockMatrix {
  readonly size: readonly [rows: number, columns: number];
  readonly bits: Bits;
  readonly groupSize: number;
  /** Whether its blocks stay as they are. */
  readonly isKept: boolean;
}

/** The matrices of blocks in a file, and how each becomes a quantized matrix; see {@link BlockOptions}. */
function blockMatrices(tensors: ReadonlyMap<string, GgufTensor>, bits: Bits): Map<string, BlockMatrix> {
  const matrices = [...tensors].filter(
    ([name, { type, shape }]) =>
      type.values > 1 &&
      shape.length === 2 &&
      // Rows of an original shape may end within a group.
      shape[1]! % keptGroupSize === 0 &&
      name.endsWith(".weight") &&
      factorsOf(name).every((factor) => !tensors.has(factor)),
  );
  const fits = usualBits(matrices.map(([, tensor]) => tensor)) <= bits;
  return new Map(matrices.map(([name, tensor]) => [name, blockMatrix(tensor, bits, fits)]));
}

/** The bits that most values have. */
function usualBits(tensors: readonly GgufTensor[]): number {
  const counts = new Map<number, number>();
  for (const { type, shape } of tensors)
    counts.set(type.bits, (counts.get(type.bits) ?? 0) + shape[0]! * shape[1]!);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return most?.[0] ?? 0;
}

function blockMatrix({ type, shape }: GgufTensor, bits: Bits, fits: boolean): BlockMatrix {
  const [rows, columns] = shape;
  const size = [rows!, columns!] as const;
  if (isAffine(type.name) && (fits || type.bits <= bits))
    return { size, bits: type.bits as Bits, groupSize: keptGroupSize, isKept: true };
  const groupSize = columns! % usualGroupSize === 0 ? usualGroupSize : keptGroupSize;
  return { size, bits: fits ? (Math.max(bits, type.bits) as Bits) : bits, groupSize, isKept: false };
}

/** The group size in which other weights are quantized. */
const usualGroupSize = 64;

function quantizedMatrix(
  stored: MxArray,
  type: GgufType,
  { size, bits, groupSize, isKept }: BlockMatrix,
): QuantizedMatrix {
  if (isKept) return ggufMatrix(stored, type, size);
  const { weight, scales, biases } = quantize(ggufValues(stored, type, size), { bits, groupSize });
  return { weight, scales: astype(scales, "float16"), biases: astype(biases, "float16") };
}

/** What becomes of a file's matrices of blocks, by their types; see {@link BlockOptions}. */
export interface BlockUse {
  /** Stay as they are. */
  readonly kept: readonly string[];
  /** Are quantized again, because the file has more bits than asked for. */
  readonly lost: readonly string[];
  /** Are quantized again, because MLX cannot hold them. */
  readonly unfit: readonly string[];
  /** The fewest bits to ask for so that nothing is lost. */
  readonly keptFrom: number;
}

/** Says what becomes of a file's blocks, from its header. @throws {ModelError} as {@link openGguf}. */
export function blockUseOf(path: string, bits: Bits): BlockUse {
  const { tensors } = readGgufHeader(path);
  const matrices = blockMatrices(tensors, bits);
  const typesOf = (isWanted: (type: string, matrix: BlockMatrix) => boolean): string[] => {
    const named = [...matrices].map(([name, matrix]) => [tensors.get(name)!.type.name, matrix] as const);
    return [...new Set(named.filter((one) => isWanted(...one)).map(([type]) => type))].sort();
  };
  return {
    kept: typesOf((_, { isKept }) => isKept),
    lost: typesOf((type, { isKept }) => !isKept && isAffine(type)),
    unfit: typesOf((type) => !isAffine(type)),
    keptFrom: usualBits([...matrices.keys()].map((name) => tensors.get(name)!)),
  };
}
