import type { Raster } from "../../src/images/types.js";

/** Irregular values from 0 to 250: `width · height · channels` bytes. */
export const noiseBytes = (width: number, height: number, channels: number): Uint8Array =>
  Uint8Array.from({ length: width * height * channels }, (_, i) => (i * 7919 + i * i * 31) % 251);

/** A one-channel image whose values are a function of the position. */
export function drawn(width: number, height: number, value: (x: number, y: number) => number): Raster {
  const data = Float32Array.from({ length: width * height }, (_, i) =>
    value(i % width, Math.floor(i / width)),
  );
  return { data, width, height, channels: 1 };
}

/** The mean of the absolute differences between two lists of the same length. */
export const meanAbsoluteDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a, (value, i) => Math.abs(value - b[i]!)).reduce((sum, one) => sum + one) / a.length;

/** The largest difference between two lists; NaN, which fails every comparison, if their lengths differ. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}
