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

/** Whether a file begins like GGUF. */
export function isGguf(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const start = Buffer.alloc(4);
    return readSync(file, start, 0, 4, 0) === 4 && start.toString("latin1") === "GGUF";
  } finally {
    closeSync(file);
  }
}

/** Bytes per value while decoding blocks: the result and its two factors in float32, and the integers before. */
const decodingBytes = 14;

export interface BlockOptions {
  /**
   * Converts matrices of blocks to MLX's affine quantization with this many bits. If most of the file's values have at
   * most this many bits, all types that MLX can hold are kept, in groups of 32, and the others are quantized again to
   * the larger of this number and their own bits. If most have more, they are quantized again to this number. If null,
   * all blocks become values.
   */
  readonly blockBits?: Bits | null | undefined;
}

/**
 * Opens a GGUF file. Blocks become float32 when they are read, or quantized matrices. Its header is checked, but no tensor
 * is read.
 * @throws {ModelError} if it is damaged, or contains an unsupported type.
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
  /** Whether its blocks are kept unchanged. */
  readonly isKept: boolean;
}

/** The matrices of blocks in a file, and how each becomes a quantized matrix; see {@link BlockOptions}. */
function blockMatrices(tensors: ReadonlyMap<string, GgufTensor>, bits: Bits): Map<string, BlockMatrix> {
  const matrices = [...tensors].filter(
    ([name, { type, shape }]) =>
      type.values > 1 &&
      shape.length === 2 &&
      // A row of the original shape may end inside a group.
      shape[1]! % keptGroupSize === 0 &&
      name.endsWith(".weight") &&
      factorsOf(name).every((factor) => !tensors.has(factor)),
  );
  const fits = usualBits(matrices.map(([, tensor]) => tensor)) <= bits;
  return new Map(matrices.map(([name, tensor]) => [name, blockMatrix(tensor, bits, fits)]));
}

/** The bits of most values. */
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

/** What happens to a file's matrices of blocks, by type; see {@link BlockOptions}. */
export interface BlockUse {
  /** Kept unchanged. */
  readonly kept: readonly string[];
  /** Quantized again, because the file has more bits than requested. */
  readonly lost: readonly string[];
  /** Quantized again, because MLX cannot hold them. */
  readonly unfit: readonly string[];
  /** The smallest number of bits to request so that nothing is lost. */
  readonly keptFrom: number;
}

/** Determines from its header what happens to a file's blocks. @throws {ModelError} as {@link openGguf}. */
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
