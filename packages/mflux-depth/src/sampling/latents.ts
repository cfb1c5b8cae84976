/*
 * Latents and their packed form. The VAE represents 8 × 8 pixels as one latent; packing turns a patch of 2 × 2 latents
 * into one token of the transformer. (diffusers: pipelines/flux/pipeline_flux.py, `_pack_latents`, `_unpack_latents`.)
 */
import { add, array, type MxArray, multiply, random, reshape, scope, transpose } from "@mflux-depth/mlx";

/** The size of an image in tokens. */
export interface LatentGrid {
  /** Tokens from top to bottom. */
  readonly rows: number;
  /** Tokens from left to right. */
  readonly columns: number;
  /** Channels of an unpacked latent. */
  readonly channels: number;
}

/** The shape of unpacked latents in PyTorch's layout, `[1, channels, 2·rows, 2·columns]`. */
export type LatentShape = readonly [batch: number, channels: number, height: number, width: number];

/** Latents along each side of the patch that becomes a token. */
export const patchSize = 2;

/** How a family packs latents into tokens. */
export interface LatentPacking {
  /** `[1, 2·rows, 2·columns, channels]` → `[1, rows·columns, 4·channels]`. */
  pack(latents: MxArray, grid: LatentGrid): MxArray;
  /** `[1, rows·columns, 4·channels]` → `[1, 2·rows, 2·columns, channels]`. */
  unpack(packed: MxArray, grid: LatentGrid): MxArray;
  /** Draws the packed noise of a seed, `[1, rows·columns, 4·channels]` float32. */
  noise(seed: number, grid: LatentGrid): MxArray;
}

/** FLUX's packing: patches of 2 × 2 latents, channel-major within the patch. */
export const patchPacking: LatentPacking = {
  pack: (latents, { rows, columns, channels }) =>
    scope(() => {
      const patches = reshape(latents, [1, rows, patchSize, columns, patchSize, channels]);
      return reshape(transpose(patches, [0, 1, 3, 5, 2, 4]), [1, rows * columns, patchSize ** 2 * channels]);
    }),
  unpack: (packed, { rows, columns, channels }) =>
    scope(() => {
      const patches = reshape(packed, [1, rows, columns, channels, patchSize, patchSize]);
      const interleaved = transpose(patches, [0, 1, 4, 2, 5, 3]);
      return reshape(interleaved, [1, patchSize * rows, patchSize * columns, channels]);
    }),
  // mflux draws noise in the packed layout; so do we, to get the same noise from the same seed.
  noise: (seed, { rows, columns, channels }) =>
    scope(() => random.normal([1, rows * columns, patchSize ** 2 * channels], { key: random.key(seed) })),
};

/** The shape of a grid's unpacked latents in PyTorch's layout. */
export const latentShape = ({ rows, columns, channels }: LatentGrid): LatentShape => [
  1,
  channels,
  patchSize * rows,
  patchSize * columns,
];

/** Latents in PyTorch's layout, `[1, channels, 2·rows, 2·columns]` → `[1, 2·rows, 2·columns, channels]`. */
export const fromChannelsFirst = (data: Float32Array, grid: LatentGrid): MxArray =>
  scope(() => transpose(array(data, { shape: [...latentShape(grid)] }), [0, 2, 3, 1]));

/** `[1, 2·rows, 2·columns, channels]` → PyTorch's layout, `[1, channels, 2·rows, 2·columns]`. */
export const toChannelsFirst = (latents: MxArray): MxArray => scope(() => transpose(latents, [0, 3, 1, 2]));

/** Latents at a noise level, `sigma · noise + (1 − sigma) · clean`; all three have the same shape. */
export const addNoise = (clean: MxArray, noise: MxArray, sigma: number): MxArray =>
  scope(() => add(multiply(noise, sigma), multiply(clean, 1 - sigma)));
