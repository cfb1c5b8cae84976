/*
 * The layout in which mflux saves a model (mflux: models/common/weights/saving/model_saver.py): keys are mflux's module
 * names, convolutions are channels-last, quantized matrices are as in MLX. The metadata of the files identifies it. We
 * save in the same layout, so mflux can read our folders.
 */
import { type Bits, type MxArray, transpose, zeros } from "@mflux-depth/mlx";
import { ModelError } from "../errors.js";
import type { Checkpoint } from "./format.js";

/** The version of mflux with this layout, for the metadata of our own files. */
export const mfluxVersion = "0.24.0";

/** The number of neighbouring inputs that share a scale; mflux always uses this one. */
export const savedGroupSize = 64;

/** Whether a checkpoint is in mflux's layout. */
export const isSaved = ({ metadata }: Pick<Checkpoint, "metadata">): boolean =>
  metadata.has("mflux_version") || metadata.has("quantization_level");

/** mflux's names of a network's tensors, where they differ from those of diffusers and transformers. */
export interface SavedNames<Config = unknown> {
  /**
   * The names under which mflux saves a tensor.
   * @param key the network's name for it.
   */
  namesOf(key: string, config: Config): readonly string[];
  /** The name in diffusers and transformers of a tensor that mflux saved; null for a repeated tensor. */
  keyOf(name: string): string | null;
  readonly lostBias?: LostBias;
}

/** A bias that some versions of mflux failed to save. */
export interface LostBias {
  /** The layer, which has the same name everywhere. */
  readonly layer: string;
  /** Those versions: "mflux 0.16 to 0.21". */
  readonly savedBy: string;
}

/** Whether this is a component saved without the bias. */
export const lacksBias = ({ entries, metadata }: Checkpoint, { layer }: LostBias): boolean =>
  isSaved({ metadata }) && entries.has(`${layer}.weight`) && !entries.has(`${layer}.bias`);

/**
 * Yields the tensors of a saved component with their names in the files and in diffusers, in diffusers' layout. A lost
 * bias is read from `original`, the checkpoint that the model was made from; without that, it becomes zeros.
 */
export function* savedTensors(
  checkpoint: Checkpoint,
  { keyOf = (name) => name, lostBias }: Partial<SavedNames>,
  original: Checkpoint | null,
): Generator<readonly [name: string, key: string, tensor: MxArray], void> {
  for (const [name, tensor] of checkpoint.tensors()) {
    const key = keyOf(name);
    if (key === null) tensor.dispose();
    else if (tensor.ndim < 4) yield [name, key, tensor];
    else {
      using stored = tensor;
      yield [name, key, transpose(stored, [0, 3, 1, 2])];
    }
  }
  if (!lostBias || !lacksBias(checkpoint, lostBias)) return;
  const bias = `${lostBias.layer}.bias`;
  const [rows = 0] = checkpoint.entries.get(`${lostBias.layer}.weight`)?.shape ?? [];
  yield [bias, bias, (original && tensorOf(original, bias)) ?? zeros([rows])];
}

function tensorOf(checkpoint: Checkpoint, wanted: string): MxArray | null {
  let found: MxArray | null = null;
  for (const [name, tensor] of checkpoint.tensors())
    if (name === wanted) found = tensor;
    else tensor.dispose();
  return found;
}

/**
 * Checks that the scales and biases of each quantized matrix have the same number format, which multiplication
 * requires.
 * @throws {ModelError} naming the file and the tensors.
 */
export function checkScales({ entries, fileOf, source }: Checkpoint): void {
  for (const [name, { dtype }] of entries) {
    if (!name.endsWith(".scales")) continue;
    const other = name.replace(/scales$/, "biases");
    const expected = entries.get(other)?.dtype ?? dtype;
    if (dtype !== expected)
      throw new ModelError(
        fileOf.get(name) ?? source,
        `tensor "${name}" is ${dtype}, but "${other}" is ${expected}; expected one number format`,
      );
  }
}

/** The bits that mflux and this library quantize to. */
export type StoredBits = Exclude<Bits, 2>;
const bitWidths: readonly number[] = [3, 4, 5, 6, 8] satisfies StoredBits[];

/**
 * Infers the bits of most of a component's quantized matrices from their shapes; null if none is quantized.
 * @throws {ModelError} if that is not a supported number of bits.
 */
export function storedBits({ entries, source }: Checkpoint): StoredBits | null {
  const counts = new Map<number, number>();
  for (const [name, { shape }] of entries) {
    if (!name.endsWith(".scales")) continue;
    const packed = entries.get(name.replace(/scales$/, "weight"))?.shape.at(-1) ?? 0;
    const bits = (packed * 32) / ((shape.at(-1) ?? 0) * savedGroupSize);
    counts.set(bits, (counts.get(bits) ?? 0) + 1);
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  if (!most) return null;
  const [bits] = most;
  if (!bitWidths.includes(bits))
    throw new ModelError(
      source,
      `the shapes of its matrices mean ${bits} bits in groups of ${savedGroupSize}; expected ${bitWidths.join(", ")} bits`,
    );
  return bits as StoredBits;
}
