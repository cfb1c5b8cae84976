import type { DepthField } from "../field/depth-field.js";
import type { Rectangle } from "../field/rectangle.js";
import { type Brush, type BrushPoint, effectAt } from "./brush.js";
import { boxMean } from "./smooth.js";

/** How much one full dab raises the depth: one pass at half strength changes about a sixth of the range. */
const rise = 0.04;

/**
 * Paints one dab. Values stay in 0 to 1.
 * @param before is called with the region that is about to change
 * @returns that region, or null when the dab lies outside the field
 */
export function dab(
  field: DepthField,
  brush: Brush,
  point: BrushPoint,
  before: (region: Rectangle) => void,
): Rectangle | null {
  const region = regionOf(field, point, brush.size / 2);
  if (!region) return null;
  before(region);
  const change = changeOf(field, brush, region);
  const strength = brush.strength * point.pressure;
  const { values } = field;
  for (let row = 0; row < region.height; row++) {
    const y = region.y + row;
    const dy = y + 0.5 - point.y;
    for (let column = 0, at = y * field.width + region.x; column < region.width; column++, at++) {
      const dx = region.x + column + 0.5 - point.x;
      const effect = effectAt(Math.sqrt(dx * dx + dy * dy), brush);
      if (effect === 0) continue;
      const value = values[at]!;
      const next = value + strength * effect * change(value, row * region.width + column);
      values[at] = next < 0 ? 0 : next > 1 ? 1 : next;
    }
  }
  return region;
}

/** The change of a value at full effect. `index` is its place in the region. */
type Change = (value: number, index: number) => number;

function changeOf(field: DepthField, brush: Brush, region: Rectangle): Change {
  switch (brush.tool) {
    case "raise":
      return () => rise;
    case "lower":
      return () => -rise;
    case "set":
      return (value) => brush.value - value;
    case "smooth": {
      const means = boxMean(field, region, Math.max(1, Math.round(brush.size / 12)));
      return (value, index) => means[index]! - value;
    }
  }
}

/** The pixels within a radius that lie inside the field. */
function regionOf({ width, height }: DepthField, { x, y }: BrushPoint, radius: number): Rectangle | null {
  const [left, top] = [Math.max(Math.floor(x - radius), 0), Math.max(Math.floor(y - radius), 0)];
  const [right, bottom] = [Math.min(Math.ceil(x + radius), width), Math.min(Math.ceil(y + radius), height)];
  return right > left && bottom > top ? { x: left, y: top, width: right - left, height: bottom - top } : null;
}
