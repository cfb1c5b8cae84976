/*
 * Opens an autoencoder that has its own file, with diffusers' names or those of Black Forest Labs ("ae.safetensors").
 * (diffusers: loaders/single_file_utils.py, convert_ldm_vae_checkpoint.)
 */
import { reshape, scope } from "@mflux-depth/mlx";
import type { Checkpoint, StoredTensor } from "../../weights/format.js";
import { openSingleFile } from "../../weights/single-file.js";
import { translated } from "../../weights/translated.js";

/** Names of Black Forest Labs inside a block or a middle, with those of diffusers. */
const inside: readonly (readonly [theirs: RegExp, ours: string])[] = [
  [/\.mid\.block_1\./, ".mid_block.resnets.0."],
  [/\.mid\.block_2\./, ".mid_block.resnets.1."],
  [/\.mid\.attn_1\.norm\./, ".mid_block.attentions.0.group_norm."],
  [/\.mid\.attn_1\.([qkv])\./, ".mid_block.attentions.0.to_$1."],
  [/\.mid\.attn_1\.proj_out\./, ".mid_block.attentions.0.to_out.0."],
  [/^encoder\.down\.(\d+)\./, "encoder.down_blocks.$1."],
  [/_blocks\.(\d+)\.block\.(\d+)\./, "_blocks.$1.resnets.$2."],
  [/\.nin_shortcut\./, ".conv_shortcut."],
  [/\.downsample\.conv\./, ".downsamplers.0.conv."],
  [/\.upsample\.conv\./, ".upsamplers.0.conv."],
  [/coder\.norm_out\./, "coder.conv_norm_out."],
];
/** Black Forest Labs number the decoder's blocks starting at the image, diffusers starting at the latents. */
const upBlock = /^decoder\.up\.(\d+)\./;

/**
 * Opens the autoencoder in one file.
 * @throws {ModelError} if it is damaged or in an unsupported format.
 */
export function openVaeFile(path: string): Checkpoint {
  const checkpoint = openSingleFile(path);
  const names = [...checkpoint.entries.keys()];
  if (!names.some((name) => upBlock.test(name))) return checkpoint;
  const last = Math.max(...names.map((name) => Number(upBlock.exec(name)?.[1] ?? 0)));
  const nameOf = (theirs: string): string =>
    inside.reduce(
      (name, [pattern, ours]) => name.replace(pattern, ours),
      theirs.replace(upBlock, (_, block: string) => `decoder.up_blocks.${last - Number(block)}.`),
    );
  return withMatrices(
    translated(checkpoint, (name) => {
      const rows = checkpoint.entries.get(name)!.shape[0] ?? 1;
      return { parts: [{ name: nameOf(name), rows }] };
    }),
  );
}

/** Reshapes attention's 1 × 1 convolutions to the matrices that diffusers uses. */
function withMatrices(checkpoint: Checkpoint): Checkpoint {
  const shapeOf = (name: string, shape: readonly number[]): readonly number[] =>
    /\.attentions\.0\.to_.*\.weight$/.test(name) && shape.length === 4 && shape[2] === 1 && shape[3] === 1
      ? shape.slice(0, 2)
      : shape;
  return {
    ...checkpoint,
    entries: new Map(
      Array.from(checkpoint.entries, ([name, entry]): [string, StoredTensor] => [
        name,
        { ...entry, shape: shapeOf(name, entry.shape) },
      ]),
    ),
    *tensors() {
      for (const [name, tensor] of checkpoint.tensors()) {
        const shape = shapeOf(name, tensor.shape);
        if (shape === tensor.shape) {
          yield [name, tensor];
          continue;
        }
        const matrix = scope(() => reshape(tensor, shape));
        tensor.dispose();
        yield [name, matrix];
      }
    },
  };
}
