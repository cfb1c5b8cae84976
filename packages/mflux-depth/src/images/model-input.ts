import { lanczos } from "./resample.js";
import { resizeInSlices } from "./resample-in-slices.js";
import type { FloatImage } from "./types.js";

/**
 * Makes the VAE's input: stretches an image to a size with Lanczos on floats, clamps it, and maps [0, 1] to −1..1.
 * diffusers: image_processor.py, except that it resizes 8-bit values.
 * @param image one channel, which is repeated, or three
 * @returns `[1, height, width, 3]`
 * @throws the signal's reason when it is aborted.
 */
export async function toModelInput(
  image: FloatImage,
  width: number,
  height: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { data, channels } = await resizeInSlices(image, width, height, lanczos, signal);
  const out = new Float32Array(width * height * 3);
  for (let p = 0, o = 0; p < width * height; p++)
    for (let c = 0; c < 3; c++) {
      const value = data[channels === 1 ? p : 3 * p + c]!;
      out[o++] = 2 * Math.min(Math.max(value, 0), 1) - 1;
    }
  return out;
}

/**
 * Converts the VAE's output to 8-bit pixels: `x / 2 + ½` clamped, × 255, rounded half to even, in float32.
 * @param values about −1 to 1, any shape
 */
export function toBytes(values: Float32Array): Uint8Array {
  const f32 = Math.fround;
  const out = new Uint8Array(values.length);
  // `Uint8Array.from` iterates, which takes twenty times as long.
  for (let i = 0; i < values.length; i++) {
    const scaled = f32(Math.min(Math.max(f32(f32(values[i]! / 2) + 0.5), 0), 1) * 255);
    const low = Math.floor(scaled);
    const rest = scaled - low;
    out[i] = rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
  }
  return out;
}
