import type { Raster } from "../images/types.js";

/** The meaning of an estimator's numbers. */
export interface PredictionMeaning {
  /** "depth" grows with the distance, "inverse-depth" is its reciprocal. */
  readonly quantity: "depth" | "inverse-depth";
  /**
   * - "metric": in metres (or 1 / metres).
   * - "canonical": in metres for a photo that is as wide as its focal length; scales with the focal length.
   * - "relative": up to an unknown factor.
   */
  readonly scale: "metric" | "canonical" | "relative";
}

/** An estimator's raw output: one channel, at the estimator's own size. */
export interface DepthPrediction extends Raster, PredictionMeaning {}

/** The range of distances in metres: zero and infinity are not valid depths. */
const [nearest, farthest] = [1e-4, 1e4];

const within = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

/** Converts a prediction to inverse depth: near is large. */
export function inverseDepth(prediction: DepthPrediction): Raster {
  const { data, width, height, channels, quantity } = prediction;
  if (quantity === "inverse-depth") return { data, width, height, channels };
  return { data: data.map((depth) => 1 / within(depth, nearest, farthest)), width, height, channels };
}

/**
 * Converts values of a prediction to distances in metres.
 * @param values of the prediction, possibly resized
 * @param focalLength in widths of the photo
 * @returns undefined when the scale is relative, or canonical and the focal length is unknown
 */
export function metresOf(
  values: Float32Array,
  { quantity, scale }: PredictionMeaning,
  focalLength: number | undefined,
): Float32Array | undefined {
  const factor = scale === "metric" ? 1 : scale === "canonical" ? focalLength : undefined;
  if (factor === undefined) return undefined;
  return quantity === "inverse-depth"
    ? values.map((inverse) => 1 / within(inverse / factor, 1 / farthest, 1 / nearest))
    : values.map((depth) => within(depth * factor, nearest, farthest));
}
