import type { DepthField } from "./depth-field.js";
import { type Levels, neutralLevels, type ToneCurve, unmirrored } from "./levels.js";

/** Statistics of a field's values, for its histogram and percentiles. */
export interface Statistics {
  /** The number of values in each of equally wide bins over 0 to 1; 1 belongs to the last bin. */
  readonly bins: Uint32Array;
  /** The number of values in the bins before each bin, with the total at the end. */
  readonly below: Uint32Array;
  readonly values: Float32Array;
  readonly least: number;
  readonly greatest: number;
}

/** Fine enough that few values of a photo's depth share a bin, and a power of two, so that binning is exact. */
const binCount = 4096;

const binOf = (value: number): number => Math.min((value * binCount) | 0, binCount - 1);

/** Counts a field's values: one pass, a few milliseconds for a megapixel. */
export function statisticsOf({ values }: DepthField): Statistics {
  const bins = new Uint32Array(binCount);
  let [least, greatest] = [1, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const bin = binOf(value);
    bins[bin] = bins[bin]! + 1;
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  const below = new Uint32Array(binCount + 1);
  for (let i = 0; i < binCount; i++) below[i + 1] = below[i]! + bins[i]!;
  return { bins, below, values, least, greatest };
}

/**
 * The value at a percentile, interpolated linearly between neighbours like numpy and the server. The result is exact,
 * although only the bins of the two neighbours are sorted.
 * @param percent 0 to 100
 */
export function percentile(statistics: Statistics, percent: number): number {
  const position = (percent / 100) * (statistics.values.length - 1);
  const rank = Math.floor(position);
  const [a, b] = ranked(statistics, rank, Math.min(rank + 1, statistics.values.length - 1));
  return a + (b - a) * (position - rank);
}

/** The values at two neighbouring ranks of the sorted field. */
function ranked({ below, values }: Statistics, first: number, second: number): [number, number] {
  const [from, to] = [binAtRank(below, first), binAtRank(below, second)];
  const found = new Float32Array(below[to + 1]! - below[from]!);
  // Bins between the two are empty, because the ranks are neighbours.
  for (let i = 0, next = 0; next < found.length; i++) {
    const bin = binOf(values[i]!);
    if (bin === from || bin === to) found[next++] = values[i]!;
  }
  found.sort();
  return [found[first - below[from]!]!, found[second - below[from]!]!];
}

/** The bin of the value at a rank: the last one with at most `rank` values below it. */
function binAtRank(below: Uint32Array, rank: number): number {
  let [low, high] = [0, below.length - 2];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (below[middle]! <= rank) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * The percentile at which a value lies, 0 to 100: the share of values below it.
 * @param value 0 to 1
 */
export function percentileOf({ below, bins, values }: Statistics, value: number): number {
  const bin = Math.max(binOf(value), 0);
  const within = Math.min(Math.max(value * binCount - bin, 0), 1);
  return (100 * (below[bin]! + within * bins[bin]!)) / values.length;
}

/**
 * Resolves levels for a field. At the default percentiles, values stay unchanged, like those of a given map on the
 * server; `makeField` has already stretched an estimate to 0 to 1, so both are treated alike.
 * @returns null when the two percentiles are equal, which the server refuses
 */
export function toneCurve(statistics: Statistics, { near, far, gamma, invert }: Levels): ToneCurve | null {
  const whole = near === neutralLevels.near && far === neutralLevels.far;
  const [black, white] = whole ? [0, 1] : [percentile(statistics, far), percentile(statistics, near)];
  if (!(white > black)) return null;
  const curve = { black, white, gamma };
  const { least, greatest } = statistics;
  const mirror = invert ? unmirrored(least, curve) + unmirrored(greatest, curve) : null;
  return { ...curve, mirror };
}

/**
 * The bars of a histogram.
 * @param count a divisor of 4096
 * @returns heights in 0 to 1: square roots, capped at the third highest, so that a sky or wall of uniform depth does
 * not flatten the rest
 */
export function bars({ bins }: Statistics, count: number): number[] {
  const width = bins.length / count;
  const roots = Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let bin = i * width; bin < (i + 1) * width; bin++) sum += bins[bin]!;
    return Math.sqrt(sum);
  });
  const [first = 1, , third = 0] = roots.toSorted((a, b) => b - a);
  const highest = third > 0 ? third : first;
  return roots.map((root) => Math.min(root / highest, 1));
}
