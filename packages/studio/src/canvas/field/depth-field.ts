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
 * Where a map came from. At the default levels, the server keeps the values of a given map. An estimate has arbitrary
 * values, which the server stretches to the whole range.
 */
export type FieldOrigin = "given" | "estimate";

/**
 * Makes a field from raw values.
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

/** Every GPU supports textures of this side, and more would be wasted: the model sees about a megapixel. */
const longestSide = 4096;

/** Limits a field to a size that the page can hold and draw: averages its pixels if a side is longer than 4096. */
export function bounded(field: DepthField): DepthField {
  const factor = Math.ceil(Math.max(field.width, field.height) / longestSide);
  if (factor === 1) return field;
  const [width, height] = [Math.ceil(field.width / factor), Math.ceil(field.height / factor)];
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const right = Math.min((x + 1) * factor, field.width);
      const bottom = Math.min((y + 1) * factor, field.height);
      let sum = 0;
      for (let row = y * factor; row < bottom; row++)
        for (let column = x * factor; column < right; column++)
          sum += field.values[row * field.width + column]!;
      values[y * width + x] = sum / ((right - x * factor) * (bottom - y * factor));
    }
  return { width, height, values };
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
