import { ImageError } from "../errors.js";
import { mostPixels } from "../options/defaults.js";

const smallestSide = 16;
const largestSide = 20_000;

/** Larger images are reduced during decoding. Photos of 24 megapixels, which are common, keep their size. */
const mostKeptPixels = 25e6;
/** The same for 16-bit pixels with transparency, which need more memory on the way. */
const mostKeptWidePixels = 20e6;
/** The size of larger images after reading: still more than models and generations use. */
const mostShrunkPixels = 12.5e6;

/** @throws {ImageError} when an image is too small or too large to be read. */
export function checkSize(name: string, width: number, height: number): void {
  const size = `${width} × ${height} pixels`;
  if (!(Number.isInteger(width) && Number.isInteger(height) && Math.min(width, height) >= smallestSide))
    throw new ImageError(name, `is ${size}; images need at least ${smallestSide} in each direction.`);
  if (Math.max(width, height) > largestSide || width * height > mostPixels)
    throw new ImageError(
      name,
      `is ${size}; the limit is ${largestSide} per side and ${mostPixels / 1e6} million in total.`,
      { details: { limit: { side: largestSide, pixels: mostPixels } } },
    );
}

/**
 * The size at which an encoded image is kept: its own, or a smaller one of the same shape.
 * @param image.pixelBytes bytes of a decoded pixel
 */
export function keptSize({
  width,
  height,
  pixelBytes,
}: {
  readonly width: number;
  readonly height: number;
  readonly pixelBytes: number;
}): { readonly width: number; readonly height: number } {
  if (width * height <= (pixelBytes > 6 ? mostKeptWidePixels : mostKeptPixels)) return { width, height };
  const scale = Math.sqrt(mostShrunkPixels / (width * height));
  return { width: Math.max(1, Math.floor(width * scale)), height: Math.max(1, Math.floor(height * scale)) };
}

/** The whole number of pixels in each direction that become one, so that pixels in memory reach a kept size. */
export const shrinkFactor = (width: number, height: number): number =>
  width * height <= mostKeptPixels ? 1 : Math.ceil(Math.sqrt((width * height) / mostShrunkPixels));
