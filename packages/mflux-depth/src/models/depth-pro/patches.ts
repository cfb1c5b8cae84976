import { concatenate, type MxArray, reshape, slice } from "@mflux-depth/mlx";
import { bilinear } from "../interpolate.js";

const strideOf = (patch: number, overlap: number): number => Math.floor(patch * (1 - overlap));

/** Patches along each side of a square image. */
export const patchesAlong = (side: number, patch: number, overlap: number): number =>
  Math.floor((side - patch) / strideOf(patch, overlap)) + 1;

/**
 * Cuts a square image into patches in reading order. A patch begins `patch · (1 − overlap)` pixels, rounded down, after
 * the one before it. The remainder at the right and bottom is dropped.
 * @param image `[1, side, side, channels]`
 * @returns `[count², patch, patch, channels]`
 */
export function splitPatches(image: MxArray, patch: number, overlap: number): MxArray {
  const side = image.shape[1]!;
  if (side === patch) return image;
  const count = patchesAlong(side, patch, overlap);
  const starts = Array.from({ length: count }, (_, i) => i * strideOf(patch, overlap));
  return concatenate(
    starts.flatMap((y) => starts.map((x) => slice(image, [null, [y, y + patch], [x, x + patch]]))),
  );
}

/**
 * Joins the feature maps of patches into one. Where two patches meet, each loses `padding` rows or columns, half of
 * their overlap, but at most a quarter of its side.
 * @param patches `[count², side, side, channels]` in reading order
 * @returns `[1, joined, joined, channels]`
 */
export function mergePatches(patches: MxArray, padding: number): MxArray {
  const [number, side] = patches.shape as [number, number];
  if (number === 1) return patches;
  const count = Math.floor(Math.sqrt(number));
  const trim = count < 2 ? 0 : Math.min(Math.floor(side / 4), padding);
  const kept = (i: number): [number, number] => [i === 0 ? 0 : trim, i === count - 1 ? side : side - trim];
  const indices = Array.from({ length: count }, (_, i) => i);
  const rows = indices.map((y) =>
    concatenate(
      indices.map((x) => slice(patches, [[y * count + x, y * count + x + 1], kept(y), kept(x)])),
      2,
    ),
  );
  return concatenate(rows, 1);
}

/** Tokens `[count, tokens, channels]` → maps `[count, side, side, channels]`, without the class token. */
function tokensAsMaps(tokens: MxArray): MxArray {
  const [count, length, channels] = tokens.shape as [number, number, number];
  const side = Math.floor(Math.sqrt(length));
  return reshape(slice(tokens, [null, [length - side * side, null]]), [count, side, side, channels]);
}

/** The tokens of all patches of a level `[count², tokens, channels]` → its feature map `[1, size, size, channels]`. */
export const featureMap = (tokens: MxArray, padding: number, size: number): MxArray =>
  bilinear(mergePatches(tokensAsMaps(tokens), padding), { size });
