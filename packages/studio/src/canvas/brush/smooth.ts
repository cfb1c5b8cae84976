import type { DepthField } from "../field/depth-field.js";
import type { Rectangle } from "../field/rectangle.js";

/**
 * The mean of the square around each pixel of a region, clipped to the field. Running sums make the time independent of
 * `reach`.
 * @param reach pixels on each side of the middle one
 * @returns one mean per pixel of the region
 */
export function boxMean(field: DepthField, region: Rectangle, reach: number): Float32Array {
  const top = Math.max(region.y - reach, 0);
  const bottom = Math.min(region.y + region.height + reach, field.height);
  const rows = rowMeans(field, region, { top, bottom, reach });
  const means = new Float32Array(region.width * region.height);
  const sums = new Float64Array(region.width);
  let [from, to] = [top, top];
  for (let y = region.y; y < region.y + region.height; y++) {
    const [first, end] = [Math.max(y - reach, top), Math.min(y + reach + 1, bottom)];
    for (; to < end; to++) addRow(sums, rows, (to - top) * region.width, 1);
    for (; from < first; from++) addRow(sums, rows, (from - top) * region.width, -1);
    const out = (y - region.y) * region.width;
    for (let x = 0; x < region.width; x++) means[out + x] = sums[x]! / (end - first);
  }
  return means;
}

/** The means along each row from `top` to `bottom`, one for each column of the region. */
function rowMeans(
  { values, width }: DepthField,
  region: Rectangle,
  { top, bottom, reach }: { top: number; bottom: number; reach: number },
): Float32Array {
  const means = new Float32Array(region.width * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const row = y * width;
    const out = (y - top) * region.width;
    let sum = 0;
    let [from, to] = [Math.max(region.x - reach, 0), Math.max(region.x - reach, 0)];
    for (let x = region.x; x < region.x + region.width; x++) {
      const [first, end] = [Math.max(x - reach, 0), Math.min(x + reach + 1, width)];
      for (; to < end; to++) sum += values[row + to]!;
      for (; from < first; from++) sum -= values[row + from]!;
      means[out + x - region.x] = sum / (end - first);
    }
  }
  return means;
}

function addRow(sums: Float64Array, rows: Float32Array, start: number, sign: 1 | -1): void {
  for (let x = 0; x < sums.length; x++) sums[x] = sums[x]! + sign * rows[start + x]!;
}
