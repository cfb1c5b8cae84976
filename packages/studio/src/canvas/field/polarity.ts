import type { DepthField } from "./depth-field.js";

/** Fields are shrunk to this width and height before the check. */
const glance = 32;

/**
 * Whether a given map looks as if white meant far, by the rule of the library's `depth/polarity.ts`: near things are
 * mostly in the middle and at the bottom. A row is suspicious if its ends are brighter than its middle, a column if its
 * top is, and the map if most lines are suspicious and its upper half is brighter than the lower.
 */
export function looksInverted(field: DepthField): boolean {
  const values = shrunk(field);
  const lines = Array.from({ length: glance }, (_, i) => i);
  const [edge, inner] = [glance / 8, glance / 4];
  const middle = (line: number[]): number => mean(line.slice(inner, -inner));
  const across = lines.map((y) => lines.map((x) => values[y * glance + x]!));
  const down = lines.map((x) => lines.map((y) => values[y * glance + x]!));
  const suspicious =
    across.filter((line) => mean([...line.slice(0, edge), ...line.slice(-edge)]) > middle(line)).length +
    down.filter((line) => mean(line.slice(0, edge)) > middle(line)).length;
  const half = values.length / 2;
  return suspicious > glance && mean(values.slice(0, half)) > mean(values.slice(half));
}

/** The means of equal areas. */
function shrunk({ width, height, values }: DepthField): number[] {
  const part = (index: number, length: number): [number, number] => {
    const from = Math.floor((index * length) / glance);
    return [from, Math.max(Math.floor(((index + 1) * length) / glance), from + 1)];
  };
  return Array.from({ length: glance * glance }, (_, i) => {
    const [left, right] = part(i % glance, width);
    const [top, bottom] = part(Math.floor(i / glance), height);
    let sum = 0;
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += values[y * width + x]!;
    return sum / ((right - left) * (bottom - top));
  });
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
