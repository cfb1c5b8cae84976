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

/** mflux's names of modules that have other names in diffusers and transformers. */
const renamed: readonly (readonly [mflux: RegExp, diffusers: string])[] = [
  [/\.(ff|ff_context)\.linear1\./, ".$1.net.0.proj."],
  [/\.(ff|ff_context)\.linear2\./, ".$1.net.2."],
  [/^t5_blocks\.(\d+)\.attention\./, "encoder.block.$1.layer.0."],
  [/^t5_blocks\.(\d+)\.ff\./, "encoder.block.$1.layer.1."],
  [/^final_layer_norm\./, "encoder.final_layer_norm."],
  [/\.(conv_in|conv_out)\.conv2d\./, ".$1."],
  [/\.conv_norm_out\.norm\./, ".conv_norm_out."],
];

/** T5's position bias, which mflux stores in every block and other libraries only in the first. */
const repeatedBias = /^encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\./;

/** The name in diffusers' layout of a tensor that mflux saved; null for a repeated position bias. */
export function diffusersKey(name: string): string | null {
  const key = renamed.reduce((text, [from, to]) => text.replace(from, to), name);
  const [, block = "0"] = repeatedBias.exec(key) ?? [];
  return block === "0" ? key : null;
}

/**
 * The names under which mflux saves a tensor, by network: one, except for T5's position bias, which it saves with every
 * block. Keys are in the layout of diffusers, CLIP's without their prefix `text_model.`.
 */
export const mfluxNames = {
  clip: (key: string): string[] => [`text_model.${key}`],
  t5(key: string, blocks: number): string[] {
    const name = key
      .replace(/^encoder\.block\.(\d+)\.layer\.0\./, "t5_blocks.$1.attention.")
      .replace(/^encoder\.block\.(\d+)\.layer\.1\./, "t5_blocks.$1.ff.")
      .replace(/^encoder\.final_layer_norm\./, "final_layer_norm.");
    if (!repeatedBias.test(key)) return [name];
    return Array.from({ length: blocks }, (_, i) => name.replace(/^t5_blocks\.0\./, `t5_blocks.${i}.`));
  },
  fluxTransformer: (key: string): string[] => [
    key
      .replace(/\.(ff|ff_context)\.net\.0\.proj\./, ".$1.linear1.")
      .replace(/\.(ff|ff_context)\.net\.2\./, ".$1.linear2."),
  ],
  autoencoder: (key: string): string[] => [
    key.replace(/\.(conv_in|conv_out)\./, ".$1.conv2d.").replace(/\.conv_norm_out\./, ".conv_norm_out.norm."),
  ],
} as const;

/** A tensor of the transformer that mflux 0.16 to 0.21 failed to save. */
export const lostBias = "norm_out.linear.bias";

/** Whether this is a transformer saved without {@link lostBias}, the bias of its last modulation. */
export const lacksBias = ({ entries, metadata }: Checkpoint): boolean =>
  isSaved({ metadata }) && entries.has("norm_out.linear.weight") && !entries.has(lostBias);

/**
 * Yields the tensors of a saved component with their names in the files and in diffusers, in diffusers' layout. A lost
 * bias is read from `original`, the checkpoint that the model was made from; without that, it becomes zeros.
 */
export function* savedTensors(
  checkpoint: Checkpoint,
  original: Checkpoint | null,
): Generator<readonly [name: string, key: string, tensor: MxArray], void> {
  for (const [name, tensor] of checkpoint.tensors()) {
    const key = diffusersKey(name);
    if (key === null) tensor.dispose();
    else if (tensor.ndim < 4) yield [name, key, tensor];
    else {
      using stored = tensor;
      yield [name, key, transpose(stored, [0, 3, 1, 2])];
    }
  }
  if (!lacksBias(checkpoint)) return;
  const [rows = 0] = checkpoint.entries.get("norm_out.linear.weight")?.shape ?? [];
  yield [lostBias, lostBias, (original && tensorOf(original, lostBias)) ?? zeros([rows])];
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
