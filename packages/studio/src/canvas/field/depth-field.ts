/**
 * A depth map as the page holds it: inverse depth in 0 to 1, near is 1. Rows from top to bottom, at the size the server
 * gave it, before any levels.
 */
export interface DepthField {
  readonly width: number;
  readonly height: number;
  /** `width × height` values. */
  readonly values: Float32Array<ArrayBuffer>;
}

/**
 * Where a map came from. The server keeps the values of a given map at the default levels; an estimate has values of
 * the estimator's own, which the server spreads over the whole range.
 */
export type FieldOrigin = "given" | "estimate";

/**
 * Makes a field of raw values.
 * @param values `width × height` numbers; a given map's must lie in 0 to 1
 * @throws {RangeError} when a value is not finite, or an estimate is the same everywhere.
 */
export function makeField(
  values: Float32Array<ArrayBuffer>,
  { width, height, origin }: { width: number; height: number; origin: FieldOrigin },
): DepthField {
  const { min, max } = extremes(values);
  if (origin === "given") return { width, height, values: values.map(clampUnit) };
  if (!(max > min)) throw new RangeError("The depth is the same everywhere, so there is nothing to show.");
  return { width, height, values: values.map((value) => (value - min) / (max - min)) };
}

const clampUnit = (value: number): number => Math.min(Math.max(value, 0), 1);

function extremes(values: Float32Array): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value))
      throw new RangeError(`The depth at pixel ${i} is ${value}; expected finite numbers.`);
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}
