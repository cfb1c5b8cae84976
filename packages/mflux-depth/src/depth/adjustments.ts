import { ImageError, OptionError } from "../errors.js";
import { extremesOf } from "../images/extremes.js";
import { bilinear, resize, resizeByRows, type TakeRow } from "../images/resample.js";
import type { FloatImage, Raster } from "../images/types.js";

/** How inverse depth becomes the grey values of a map. */
export interface MapAdjustments {
  /** The percentile of inverse depth that becomes white, together with everything nearer (default 100). */
  readonly near?: number | undefined;
  /** The percentile of inverse depth that becomes black, together with everything farther (default 0). */
  readonly far?: number | undefined;
  /** Above 1, far parts get more of the range; below 1, near parts do (default 1). */
  readonly gamma?: number | undefined;
  /** Make far white instead of near (default false). */
  readonly invert?: boolean | undefined;
}

/** @throws {OptionError} when an adjustment is out of range, or near and far are in the wrong order. */
export function checkAdjustments({ near = 100, far = 0, gamma = 1 }: MapAdjustments): void {
  for (const [name, value] of [
    ["near", near],
    ["far", far],
  ] as const)
    if (!(value >= 0 && value <= 100))
      throw new OptionError(name, `${name} must be a percentile, a number from 0 to 100, not ${value}.`);
  if (far >= near)
    throw new OptionError(
      "near",
      `near (${near}) must be a higher percentile than far (${far}), because near is white.`,
    );
  if (!(gamma >= 0.01 && gamma <= 100))
    throw new OptionError("gamma", `gamma must be a number from 0.01 to 100, not ${gamma}.`);
}

/**
 * The values that become black and white: the smallest and the largest, unless percentiles are given.
 * @param source names the photo in messages
 * @throws {ImageError} when the two are equal: such a map shows no depth.
 */
function rangeOf(
  values: Float32Array,
  source: string,
  { near = 100, far = 0 }: MapAdjustments = {},
): { min: number; max: number } {
  const { min, max } = near === 100 && far === 0 ? extremesOf(values) : percentiles(values, far, near);
  if (!(max > min))
    throw new ImageError(
      source,
      near === 100 && far === 0
        ? "the same depth was found everywhere, so there is nothing to show; try another photo."
        : `the percentiles ${far} and ${near} of the depth are equal; choose them farther apart.`,
    );
  return { min, max };
}

function percentiles(values: Float32Array, low: number, high: number): { min: number; max: number } {
  const sorted = values.slice().sort();
  return { min: percentile(sorted, low), max: percentile(sorted, high) };
}

/** Interpolates linearly between neighbours, like numpy. */
function percentile(sorted: Float32Array, percent: number): number {
  const position = (percent / 100) * (sorted.length - 1);
  const low = Math.floor(position);
  const [a, b] = [sorted[low]!, sorted[Math.min(low + 1, sorted.length - 1)]!];
  return a + (b - a) * (position - low);
}

/**
 * Makes a depth map: normalizes inverse depth over the range of the whole map, then resizes once (bilinear, antialiased
 * where it shrinks).
 * @param inverse inverse depth, one channel
 * @param source names the photo in messages
 * @returns one channel at the given size; near is white, unless inverted
 * @throws {ImageError} when the depth is the same everywhere.
 */
export function normalizedMap(
  inverse: Raster,
  width: number,
  height: number,
  source: string,
  adjustments: MapAdjustments = {},
): FloatImage {
  const map = resize(normalized(inverse, source, adjustments), width, height, bilinear);
  return { ...map, data: adjusted(map.data, adjustments) };
}

/**
 * {@link normalizedMap} that hands out one row after another and lets other work run in between: maps of large photos
 * take hundreds of megabytes and seconds.
 * @throws the signal's reason when it is aborted.
 */
export async function normalizedRows(
  inverse: Raster,
  width: number,
  height: number,
  source: string,
  adjustments: MapAdjustments,
  take: TakeRow,
  signal: AbortSignal | undefined,
): Promise<void> {
  const scaled = normalized(inverse, source, adjustments);
  const takeAdjusted: TakeRow = (row, y) => take(adjusted(row, adjustments), y);
  await resizeByRows(scaled, width, height, bilinear, takeAdjusted, signal);
}

/** Inverse depth over its range: black is 0, white is 1. */
function normalized(inverse: Raster, source: string, adjustments: MapAdjustments): Raster {
  const { min, max } = rangeOf(inverse.data, source, adjustments);
  return { ...inverse, data: inverse.data.map((value) => (value - min) / (max - min)) };
}

function adjusted(values: Float32Array, { gamma = 1, invert = false }: MapAdjustments): Float32Array {
  return values.map((value) => {
    // Rounding and percentiles leave values outside.
    const inside = Math.min(Math.max(value, 0), 1);
    const bent = gamma === 1 ? inside : inside ** (1 / gamma);
    return invert ? 1 - bent : bent;
  });
}
