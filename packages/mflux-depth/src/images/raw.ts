import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { ImageError } from "../errors.js";
import type { RawImage } from "../options/index.js";
import type { LevelSink, PixelLayout } from "./levels.js";
import { checkSize, shrinkFactor } from "./sizes.js";

/** The level of white by the type of the array. */
const whites: Readonly<Record<string, number>> = {
  Uint8Array: 255,
  Uint8ClampedArray: 255,
  Uint16Array: 65535,
  Float32Array: 1,
};

/**
 * The name of an array's type. Names are compared, because another realm (a vm context, an Electron window) has its own
 * classes.
 */
const typeOf = (data: RawImage["data"]): string => data[Symbol.toStringTag] ?? "DataView";

/**
 * Checks pixels in memory.
 * @param name their name in messages
 * @returns their layout after reading; large images are reduced by a whole factor in each direction.
 * @throws {ImageError} when the array has another type or size than the image needs, or the image has an unusable size.
 */
export function rawLayout({ data, width, height, channels }: RawImage, name: string): PixelLayout {
  const type = typeOf(data);
  const white = Object.hasOwn(whites, type) ? whites[type]! : undefined;
  if (white === undefined)
    throw new ImageError(
      name,
      `its pixels are in a ${type}; expected a Uint8Array, Uint8ClampedArray, Uint16Array or Float32Array.`,
    );
  checkSize(name, width, height);
  if (![1, 2, 3, 4].includes(channels) || data.length !== width * height * channels)
    throw new ImageError(
      name,
      `${data.length} values do not make ${width} × ${height} pixels of ${channels} channels.`,
    );
  const factor = shrinkFactor(width, height);
  return { width: Math.floor(width / factor), height: Math.floor(height / factor), channels, white };
}

/** The number of values to process before other work may run: some milliseconds. */
const sliceValues = 1 << 20;

/**
 * Writes the pixels of an image to a sink, and yields to other work in between.
 * @returns the SHA-256 of the pixels and their layout.
 * @throws {ImageError} when floating-point values lie outside of 0 to 1.
 * @throws the signal's reason when it is aborted.
 */
export async function readRaw(
  { data, width, height, channels }: RawImage,
  { white }: PixelLayout,
  sink: LevelSink,
  name: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const factor = shrinkFactor(width, height);
  // At another size, the same bytes are another image.
  const hash = createHash("sha256").update(`${typeOf(data)} ${width} ${height} ${channels} `);
  const stride = width * channels;
  const rowsPerSlice = factor * Math.max(1, Math.floor(sliceValues / (stride * factor)));
  for (let y = 0; y < height; y += rowsPerSlice) {
    signal?.throwIfAborted();
    const slice = data.subarray(y * stride, Math.min(y + rowsPerSlice, height) * stride);
    hash.update(new Uint8Array(slice.buffer, slice.byteOffset, slice.byteLength));
    if (white === 1 && !slice.every((v) => v >= 0 && v <= 1))
      throw new ImageError(name, "floating-point pixels must lie between 0 and 1.");
    sink.write(factor === 1 ? slice : averaged(slice, width, channels, factor));
    if (y + rowsPerSlice < height) await setImmediate();
  }
  return hash.digest("hex");
}

/** Averages squares of `factor` pixels in each direction; colours are weighted by opacity. Drops incomplete squares. */
function averaged(rows: ArrayLike<number>, width: number, channels: number, factor: number): Float64Array {
  const stride = width * channels;
  const outWidth = Math.floor(width / factor);
  const outHeight = Math.floor(rows.length / stride / factor);
  const out = new Float64Array(outWidth * outHeight * channels);
  const alphaAt = channels % 2 === 0 ? channels - 1 : null;
  let o = 0;
  for (let y = 0; y < outHeight; y++)
    for (let x = 0; x < outWidth; x++, o += channels) {
      let weights = 0;
      for (let dy = 0; dy < factor; dy++)
        for (let dx = 0; dx < factor; dx++) {
          const i = (y * factor + dy) * stride + (x * factor + dx) * channels;
          const weight = alphaAt === null ? 1 : rows[i + alphaAt]!;
          weights += weight;
          for (let c = 0; c < channels; c++) if (c !== alphaAt) out[o + c]! += rows[i + c]! * weight;
        }
      for (let c = 0; c < channels; c++)
        out[o + c] = c === alphaAt ? weights / factor ** 2 : weights === 0 ? 0 : out[o + c]! / weights;
    }
  return out;
}
