/*
 * Measures how faithfully an image keeps the geometry of a depth map, by comparing the depth estimated from the image
 * with the map. Both are inverse depth up to scale and shift, so the estimate is first fitted to the map.
 */
import { extremesOf } from "../images/extremes.js";
import { type Fit, place, placementOf } from "../images/fit.js";
import { bilinear, resize } from "../images/resample.js";
import type { FloatImage, Raster } from "../images/types.js";
import type { Size } from "../images/upright-size.js";

/** Scores that compare an image's depth with a map. */
export interface FidelityScores {
  /** Root mean squared difference, on a scale where the map spans 0 to 255. Lower is better. */
  readonly rmse: number;
  /**
   * Pearson's correlation, −1 to 1: 1 for the same shape, 0 for unrelated depth, negative if near and far are swapped.
   */
  readonly correlation: number;
  /** The mean relative error of distances, with distances limited to ten times the nearest. Lower is better. */
  readonly absRel: number;
  /** How well depth edges coincide, 0 to 1: the harmonic mean of precision and recall. Higher is better. */
  readonly edgeF1: number;
}

/** How a map was fitted to the proportions of an image. */
export interface Framing {
  readonly fit?: Fit;
  /** The size of what the map shows, if it differs from the map's own: an estimator sees a photo as a square. */
  readonly proportions?: Size;
}

/** The scores, and the two maps that they compare. */
export interface FidelityComparison extends FidelityScores {
  /** The map, stretched to [0, 1]. */
  readonly expected: FloatImage;
  /** The estimate, fitted to the map; may leave [0, 1]. */
  readonly fitted: Raster;
}

/** The longer side at which maps are compared, so that scores do not depend on the size of images. */
const comparedSide = 256;

/**
 * Compares the depth estimated from an image with a depth map.
 * @param map one channel; near is large; not the same value everywhere
 * @param estimate inverse depth of the image, one channel; near is large; of the same view, at any size
 * @param image the size of the image in pixels
 * @param framing how the map got the image's proportions; stretched by default
 */
export function compareDepth(
  map: Raster,
  estimate: Raster,
  image: Size,
  { fit = "stretch", proportions = map }: Framing = {},
): FidelityComparison {
  const size = comparedSize(image);
  const placement = placementOf(proportions, size, fit);
  const expected = stretched(place(resize(map, placement.width, placement.height, bilinear), placement));
  const found = resize(estimate, size.width, size.height, bilinear);
  const { correlation, scale, shift } = leastSquares(found.data, expected.data);
  const fitted = { ...found, data: found.data.map((value) => scale * value + shift) };
  return {
    rmse: 255 * rootMeanSquare(expected.data, fitted.data),
    correlation,
    absRel: relativeError(expected.data, fitted.data),
    edgeF1: edgeAgreement(expected, fitted),
    expected,
    fitted,
  };
}

function comparedSize({ width, height }: Size): Size {
  const scale = comparedSide / Math.max(width, height);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

function stretched(map: Raster): FloatImage {
  const { min, max } = extremesOf(map.data);
  const range = max > min ? max - min : 1;
  return { ...map, data: map.data.map((value) => (value - min) / range) };
}

/**
 * The scale and shift of `values` that come closest to `target` (least squares). The scale is never negative, because
 * near and far must not be swapped.
 */
function leastSquares(
  values: Float32Array,
  target: Float32Array,
): { correlation: number; scale: number; shift: number } {
  const [meanOfValues, meanOfTarget] = [meanOf(values), meanOf(target)];
  let [together, own, theirs] = [0, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const [a, b] = [values[i]! - meanOfValues, target[i]! - meanOfTarget];
    together += a * b;
    own += a * a;
    theirs += b * b;
  }
  const correlation = own > 0 && theirs > 0 ? together / Math.sqrt(own * theirs) : 0;
  const scale = own > 0 ? Math.max(together / own, 0) : 0;
  return { correlation, scale, shift: meanOfTarget - scale * meanOfValues };
}

const meanOf = (values: Float32Array): number => {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
};

function rootMeanSquare(expected: Float32Array, found: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < expected.length; i++) sum += (expected[i]! - found[i]!) ** 2;
  return Math.sqrt(sum / expected.length);
}

/** Smaller inverse depths are raised to this: a map does not say how far away its black is. */
const farthest = 0.1;

/** The mean of |d − d'| / d over distances d = 1 / inverse depth. */
function relativeError(expected: Float32Array, found: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < expected.length; i++) {
    const [own, theirs] = [Math.max(expected[i]!, farthest), Math.max(found[i]!, farthest)];
    sum += Math.abs(own / theirs - 1);
  }
  return sum / expected.length;
}

// ---------------------------------------------------------------- edges

/** The change per pixel, as a share of the map's range, above which there is an edge. */
const edgeSlope = 0.03;

/** Edges coincide if they are at most this many pixels apart in both directions. */
const edgeTolerance = 3;

function edgeAgreement(expected: Raster, found: Raster): number {
  const [own, theirs] = [edgesOf(expected), edgesOf(found)];
  const [ownCount, theirCount] = [countOf(own), countOf(theirs)];
  if (ownCount === 0 && theirCount === 0) return 1;
  if (ownCount === 0 || theirCount === 0) return 0;
  const precision = countOf(theirs, widened(own, expected)) / theirCount;
  const recall = countOf(own, widened(theirs, expected)) / ownCount;
  return precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0;
}

/**
 * 1 where Sobel's gradient is steeper than {@link edgeSlope}. Beyond its border, the map is extended by its edge
 * values.
 */
function edgesOf({ data, width, height }: Raster): Uint8Array {
  const at = (x: number, y: number): number =>
    data[Math.min(Math.max(y, 0), height - 1) * width + Math.min(Math.max(x, 0), width - 1)]!;
  return Uint8Array.from({ length: width * height }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const column = (dx: number): number => at(x + dx, y - 1) + 2 * at(x + dx, y) + at(x + dx, y + 1);
    const row = (dy: number): number => at(x - 1, y + dy) + 2 * at(x, y + dy) + at(x + 1, y + dy);
    return Math.hypot((column(1) - column(-1)) / 8, (row(1) - row(-1)) / 8) > edgeSlope ? 1 : 0;
  });
}

/** Marks every pixel that has a marked one within {@link edgeTolerance}. */
function widened(marks: Uint8Array, { width, height }: Raster): Uint8Array {
  const along = (
    source: Uint8Array,
    length: number,
    step: number,
    position: (i: number) => number,
  ): Uint8Array =>
    source.map((_, i) => {
      const p = position(i);
      for (let d = -edgeTolerance; d <= edgeTolerance; d++)
        if (p + d >= 0 && p + d < length && source[i + d * step]) return 1;
      return 0;
    });
  const wide = along(marks, width, 1, (i) => i % width);
  return along(wide, height, width, (i) => Math.floor(i / width));
}

/** The number of marked pixels; with two masks, of pixels marked in both. */
function countOf(marks: Uint8Array, others: Uint8Array = marks): number {
  let count = 0;
  for (let i = 0; i < marks.length; i++) count += marks[i]! & others[i]!;
  return count;
}
