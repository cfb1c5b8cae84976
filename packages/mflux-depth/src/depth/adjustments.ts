import { ImageError, OptionError } from "../errors.js";
import { extremesOf } from "../images/extremes.js";
import { bilinear, resize, resizeByRows, type TakeRow } from "../images/resample.js";
import type { FloatImage, Raster } from "../images/types.js";
import { checkOptions, depthOptions, type GivenOptions, type ResolvedOptions } from "../options/index.js";

const { invert, near, far, gamma } = depthOptions;
const adjustments = { invert, near, far, gamma };

/** How inverse depth becomes the grey values of a map. */
export interface MapAdjustments extends GivenOptions<typeof adjustments> {}

type ResolvedAdjustments = ResolvedOptions<typeof adjustments>;

/**
 * Checks adjustments and fills in defaults.
 * @throws {OptionError} when one is out of range, or near and far are in the wrong order.
 */
export function checkAdjustments(given: MapAdjustments): ResolvedAdjustments {
  const resolved = checkOptions(adjustments, given);
  if (resolved.far >= resolved.near)
    throw new OptionError(
      "near",
      `near (${resolved.near}) must be above far (${resolved.far}), because near becomes white.`,
    );
  return resolved;
}

/**
 * The values that become black and white: the smallest and the largest, unless percentiles are given.
 * @param source names the photo in messages
 * @throws {ImageError} when the two are equal: such a map shows no depth.
 */
function rangeOf(
  values: Float32Array,
  source: string,
  { near, far }: ResolvedAdjustments,
): { min: number; max: number } {
  const whole = near === depthOptions.near.default && far === depthOptions.far.default;
  const { min, max } = whole ? extremesOf(values) : percentiles(values, far, near);
  if (!(max > min))
    throw new ImageError(
      source,
      whole
        ? "the depth is the same everywhere, so there is nothing to show; try another photo."
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
 * @throws {OptionError} for an invalid adjustment.
 * @throws {ImageError} when the depth is the same everywhere.
 */
export function normalizedMap(
  inverse: Raster,
  width: number,
  height: number,
  source: string,
  given: MapAdjustments = {},
): FloatImage {
  const adjustments = checkAdjustments(given);
  const map = resize(normalized(inverse, source, adjustments), width, height, bilinear);
  return { ...map, data: adjusted(map.data, adjustments) };
}

/**
 * {@link normalizedMap} that hands out one row after another and lets other work run in between: maps of large photos
 * take hundreds of megabytes and seconds.
 * @param take receives each row and its number
 * @throws the signal's reason when it is aborted.
 */
export async function normalizedRows(
  inverse: Raster,
  options: {
    readonly width: number;
    readonly height: number;
    readonly source: string;
    readonly adjustments: MapAdjustments;
    readonly signal: AbortSignal | undefined;
  },
  take: TakeRow,
): Promise<void> {
  const { width, height, source, signal } = options;
  const adjustments = checkAdjustments(options.adjustments);
  const scaled = normalized(inverse, source, adjustments);
  const takeAdjusted: TakeRow = (row, y) => take(adjusted(row, adjustments), y);
  await resizeByRows(scaled, width, height, bilinear, takeAdjusted, signal);
}

/** Inverse depth over its range: black is 0, white is 1. */
function normalized(inverse: Raster, source: string, adjustments: ResolvedAdjustments): Raster {
  const { min, max } = rangeOf(inverse.data, source, adjustments);
  return { ...inverse, data: inverse.data.map((value) => (value - min) / (max - min)) };
}

function adjusted(values: Float32Array, { gamma, invert }: ResolvedAdjustments): Float32Array {
  return values.map((value) => {
    // Rounding and percentiles leave values outside [0, 1].
    const inside = Math.min(Math.max(value, 0), 1);
    const curved = gamma === 1 ? inside : inside ** (1 / gamma);
    return invert ? 1 - curved : curved;
  });
}
