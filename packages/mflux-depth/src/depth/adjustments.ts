/*
 * Converts values to the grey levels of a depth map, for given maps and estimates alike, before the map is resized.
 *
 * 1. Stretch: the percentile `far` becomes 0 and the percentile `near` becomes 1. A given map with the default
 *    percentiles keeps its levels, whatever range they span.
 * 2. Clamp to [0, 1].
 * 3. Gamma: v ← v^(1 / gamma).
 * 4. Invert: v ← min + (max − v), over the range of the map.
 */
import { ImageError } from "../errors.js";
import { extremesOf } from "../images/extremes.js";
import { bilinear, resize, type TakeRow } from "../images/resample.js";
import { resizeByRows } from "../images/resample-in-slices.js";
import type { FloatImage, Raster } from "../images/types.js";
import {
  checkOptions,
  depthOptions,
  type GivenOptions,
  type ResolvedOptions,
  type ResolvedRequest,
  requireNearAboveFar,
} from "../options/index.js";

const { invert, near, far, gamma } = depthOptions;
const adjustments = { invert, near, far, gamma };

/** Settings for converting depth to the grey values of a map. */
export interface MapAdjustments extends GivenOptions<typeof adjustments> {}

type ResolvedAdjustments = ResolvedOptions<typeof adjustments>;

/** The adjustments in a request. */
export const adjustmentsOf = ({
  invertDepth,
  depthNear,
  depthFar,
  depthGamma,
}: Pick<ResolvedRequest, "invertDepth" | "depthNear" | "depthFar" | "depthGamma">): ResolvedAdjustments => ({
  invert: invertDepth,
  near: depthNear,
  far: depthFar,
  gamma: depthGamma,
});

/**
 * Checks adjustments and fills in defaults.
 * @throws {OptionError} if one is out of range, or near and far are in the wrong order.
 */
export function checkAdjustments(given: MapAdjustments): ResolvedAdjustments {
  const resolved = checkOptions(adjustments, given);
  requireNearAboveFar(resolved.near, resolved.far, ["near", "far"]);
  return resolved;
}

/** Whether the percentiles are the smallest and the largest value. */
const isWhole = ({ near, far }: ResolvedAdjustments): boolean =>
  near === depthOptions.near.default && far === depthOptions.far.default;

/**
 * The values that become black and white: the smallest and the largest, unless percentiles are given.
 * @param source names the photo or the map in messages
 * @throws {ImageError} when the two are equal: such a map shows no depth.
 */
function rangeOf(
  values: Float32Array,
  source: string,
  adjustments: ResolvedAdjustments,
): { min: number; max: number } {
  const { near, far } = adjustments;
  const whole = isWhole(adjustments);
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
 * Adjusts a given depth map at its own size.
 * @param map one channel in [0, 1]
 * @param source names the map in messages
 * @returns the map itself when nothing changes
 * @throws {OptionError} for an invalid adjustment.
 * @throws {ImageError} when the percentiles are equal.
 */
export function adjustedMap(map: FloatImage, source: string, given: MapAdjustments): FloatImage {
  const adjustments = checkAdjustments(given);
  const { gamma, invert } = adjustments;
  if (isWhole(adjustments) && gamma === 1 && !invert) return map;
  const data = isWhole(adjustments) ? map.data : stretched(map.data, source, adjustments);
  return { ...map, data: shaped(data, adjustments) };
}

/**
 * Makes a depth map: stretches inverse depth over the range of the whole map, adjusts it, then resizes once (bilinear,
 * antialiased where it shrinks).
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
  const map = resize(adjusted(inverse, source, given), width, height, bilinear);
  return { ...map, data: map.data.map(clamped) };
}

/**
 * Like {@link normalizedMap}, but delivers one row at a time and lets other work run in between: maps of large photos
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
  const map = adjusted(inverse, source, options.adjustments);
  const takeClamped: TakeRow = (row, y) => take(row.map(clamped), y);
  await resizeByRows(map, width, height, bilinear, takeClamped, signal);
}

/** The map of an estimate, at the estimate's size. */
function adjusted(inverse: Raster, source: string, given: MapAdjustments): FloatImage {
  const adjustments = checkAdjustments(given);
  return { ...inverse, data: shaped(stretched(inverse.data, source, adjustments), adjustments) };
}

/** Stretches values over their range: black becomes 0, white 1. */
function stretched(values: Float32Array, source: string, adjustments: ResolvedAdjustments): Float32Array {
  const { min, max } = rangeOf(values, source, adjustments);
  return values.map((value) => (value - min) / (max - min));
}

/** Clamps values, applies gamma, and inverts if requested. */
function shaped(values: Float32Array, { gamma, invert }: ResolvedAdjustments): Float32Array {
  const bent = values.map((value) => {
    const inside = clamped(value);
    return gamma === 1 ? inside : inside ** (1 / gamma);
  });
  if (!invert) return bent;
  const { min, max } = extremesOf(bent);
  return bent.map((value) => min + (max - value));
}

/** Clamps to [0, 1]: rounding, percentiles and resizing overshoot. */
const clamped = (value: number): number => Math.min(Math.max(value, 0), 1);
