/*
 * Changes only the masked part of a photo, as diffusers does (pipelines/flux/pipeline_flux_control_inpaint.py): after
 * each step, the latents outside the mask are replaced by the photo's at the same noise level. At the end, the photo's
 * own pixels replace the decoded ones there, because the autoencoder changes them a little.
 */
import { add, array, broadcastTo, type MxArray, multiply, scope, subtract } from "@mflux-depth/mlx";
import type { FloatImage } from "../images/types.js";
import { addNoise, patchSize } from "../sampling/latents.js";
import { framed } from "./framed.js";
import type { Picture } from "./result.js";
import type { Generation } from "./stage.js";

/**
 * The mask in the form of packed latents, `[1, tokens, channels]`: for each latent the mean of its pixels.
 * @throws the signal's reason when it is aborted.
 */
export async function latentMask(generation: Generation): Promise<MxArray> {
  const { grid, model } = generation;
  const mask = await framed(generation.images.mask!, generation);
  const [rows, columns] = [patchSize * grid.rows, patchSize * grid.columns];
  const means = blockMeans(mask, columns, rows);
  return scope(() => {
    const latents = array(means, { shape: [1, rows, columns, 1] });
    return model.family.packing.pack(broadcastTo(latents, [1, rows, columns, grid.channels]), grid);
  });
}

/** The mean of each block of pixels, `columns × rows` blocks, which divide the image. */
export function blockMeans({ data, width, height }: FloatImage, columns: number, rows: number): Float32Array {
  const [across, down] = [width / columns, height / rows];
  const sums = new Float64Array(columns * rows);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const block = Math.floor(y / down) * columns + Math.floor(x / across);
      sums[block] = sums[block]! + data[y * width + x]!;
    }
  return Float32Array.from(sums, (sum) => sum / (across * down));
}

/**
 * Latents with the photo outside the mask. All arrays are packed, `[1, tokens, channels]`.
 * @param sigma the noise level of `latents`
 */
export const keepOutside = (
  latents: MxArray,
  sigma: number,
  { mask, photo, noise }: { readonly mask: MxArray; readonly photo: MxArray; readonly noise: MxArray },
): MxArray =>
  scope(() => add(multiply(subtract(1, mask), addNoise(photo, noise, sigma)), multiply(mask, latents)));

/**
 * Puts the photo's pixels back outside the mask.
 * @throws the signal's reason when it is aborted.
 */
export async function compose(decoded: Picture, generation: Generation): Promise<Picture> {
  const { photo, mask } = generation.images;
  if (!photo || !mask) return decoded;
  const [original, changed] = [await framed(photo, generation), await framed(mask, generation)];
  const data = decoded.data.map((level, i) => {
    const share = changed.data[Math.floor(i / 3)]!;
    return Math.round(share * level + (1 - share) * 255 * original.data[i]!);
  });
  return { ...decoded, data };
}
