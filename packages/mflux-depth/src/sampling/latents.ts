/*
 * Latents as the transformer sees them: one token for each patch of two by two, its channels channel-major within
 * the patch. diffusers: pipelines/flux/pipeline_flux.py, `_pack_latents` and `_unpack_latents`.
 */
import { add, array, type MxArray, multiply, random, reshape, scope, transpose } from "@mflux-depth/mlx";

/** Pixels of the picture along a token's side: the autoencoder's 8, two latents a token. */
export interface Grid {
  /** Tokens from top to bottom. */
  readonly rows: number;
  /** Tokens from left to right. */
  readonly columns: number;
  /** Channels of a latent. */
  readonly channels: number;
}

/** `[1, 2·rows, 2·columns, channels]` → `[1, rows·columns, 4·channels]`. */
export const pack = (latents: MxArray, { rows, columns, channels }: Grid): MxArray =>
  scope(() => {
    const patches = reshape(latents, [1, rows, 2, columns, 2, channels]);
    return reshape(transpose(patches, [0, 1, 3, 5, 2, 4]), [1, rows * columns, 4 * channels]);
  });

/** `[1, rows·columns, 4·channels]` → `[1, 2·rows, 2·columns, channels]`. */
export const unpack = (tokens: MxArray, { rows, columns, channels }: Grid): MxArray =>
  scope(() => {
    const patches = reshape(tokens, [1, rows, columns, channels, 2, 2]);
    return reshape(transpose(patches, [0, 1, 4, 2, 5, 3]), [1, 2 * rows, 2 * columns, channels]);
  });

/** Latents in PyTorch's layout, `[1, channels, 2·rows, 2·columns]` → `[1, rows·columns, 4·channels]`. */
export const packData = (data: Float32Array, grid: Grid): MxArray =>
  scope(() => {
    const channelsFirst = array(data, { shape: [1, grid.channels, 2 * grid.rows, 2 * grid.columns] });
    return pack(transpose(channelsFirst, [0, 2, 3, 1]), grid);
  });

/** `[1, rows·columns, 4·channels]` → `[1, channels, 2·rows, 2·columns]`, PyTorch's layout. */
export const unpackChannelsFirst = (tokens: MxArray, grid: Grid): MxArray =>
  scope(() => transpose(unpack(tokens, grid), [0, 3, 1, 2]));

/** The noise of a seed, `[1, rows·columns, 4·channels]` float32, drawn in this layout as mflux draws it. */
export const noiseOf = (seed: number, { rows, columns, channels }: Grid): MxArray =>
  scope(() => random.normal([1, rows * columns, 4 * channels], { key: random.key(seed) }));

/** `sigma · noise + (1 − sigma) · picture`: the picture at a noise level. */
export const noised = (picture: MxArray, noise: MxArray, sigma: number): MxArray =>
  scope(() => add(multiply(noise, sigma), multiply(picture, 1 - sigma)));
