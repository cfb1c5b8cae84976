/* Copies of the bundled model with damaged files. */
import { copyFileSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { array, astype, loadSafetensors, type MxArray, saveSafetensors } from "@mflux-depth/mlx";
import { bundled } from "./tiny-world.js";

/** Each component's weights. */
export const weights = {
  text_encoder: "text_encoder/model.safetensors",
  text_encoder_2: "text_encoder_2/model.safetensors",
  vae: "vae/diffusion_pytorch_model.safetensors",
  transformer: "transformer/diffusion_pytorch_model.safetensors",
};
/** One tensor of each component. */
export const someTensor = {
  text_encoder: "text_model.encoder.layers.1.mlp.fc1.weight",
  text_encoder_2: "encoder.block.1.layer.1.DenseReluDense.wi_1.weight",
  vae: "decoder.up_blocks.2.resnets.1.conv1.weight",
  transformer: "single_transformer_blocks.3.attn.to_q.weight",
};

/** Copies the bundled model into `parent`: one file for real, the others as links. */
export function copyModel(parent: string, damaged: string): { folder: string; file: string } {
  const folder = join(parent, "model");
  for (const entry of readdirSync(bundled, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    const source = join(entry.parentPath, entry.name);
    const target = join(folder, relative(bundled, source));
    mkdirSync(dirname(target), { recursive: true });
    if (relative(bundled, source) === damaged) copyFileSync(source, target);
    else symlinkSync(source, target);
  }
  return { folder: realpathSync(folder), file: join(realpathSync(folder), damaged) };
}

/** Rewrites a safetensors file after changing its tensors. */
export async function rewriteTensors(
  file: string,
  change: (arrays: Map<string, MxArray>) => void,
): Promise<void> {
  const { arrays } = loadSafetensors(file);
  const all = [...arrays.values()];
  change(arrays);
  await saveSafetensors(`${file}.new.safetensors`, arrays);
  for (const one of new Set([...all, ...arrays.values()])) one.dispose();
  copyFileSync(`${file}.new.safetensors`, file);
  rmSync(`${file}.new.safetensors`);
}

/** Puts a value into the middle of a tensor of a safetensors file. */
export const plant = (file: string, tensor: string, value: number): Promise<void> =>
  rewriteTensors(file, (arrays) => {
    const sound = arrays.get(tensor)!;
    using floats = astype(sound, "float32");
    const data = Float32Array.from(floats.toTypedArray() as Float32Array);
    data[data.length >> 1] = value;
    using planted = array(data, { shape: [...sound.shape] });
    arrays.set(tensor, astype(planted, sound.dtype));
  });
