/** How a brush changes depth: nearer, farther, smoothed, or set to a picked value. */
export type BrushTool = "raise" | "lower" | "smooth" | "set";

export interface Brush {
  readonly tool: BrushTool;
  /** Diameter in pixels of the map. */
  readonly size: number;
  /** The share of the radius with full effect, 0 to 1; from there the effect fades to the rim. */
  readonly hardness: number;
  /** How much one dab changes, 0 to 1. */
  readonly strength: number;
  /** The inverse depth that `set` paints, 0 to 1. */
  readonly value: number;
}

/** A position of the pointer, in pixels of the map, with pressure from 0 to 1. */
export interface BrushPoint {
  readonly x: number;
  readonly y: number;
  readonly pressure: number;
}

/** The available sizes, in pixels of the map. */
export const sizeLimits = { min: 2, max: 512 };

/** The initial brush for a map of the given size. */
export const defaultBrush = ({ width, height }: { width: number; height: number }): Brush => ({
  tool: "raise",
  size: Math.min(Math.max(Math.round(Math.max(width, height) / 8), sizeLimits.min), sizeLimits.max),
  hardness: 0.3,
  strength: 0.5,
  value: 0.5,
});

/** One step larger (1) or smaller (-1): about a fifth, at least a pixel. */
export function resized(brush: Brush, direction: 1 | -1): Brush {
  const step = Math.max(1, Math.round(brush.size * 0.2));
  const size = Math.min(Math.max(brush.size + direction * step, sizeLimits.min), sizeLimits.max);
  return { ...brush, size };
}

/**
 * The share of a brush's effect at a distance from its centre, 0 to 1. Even the hardest brush fades over one pixel, to
 * avoid jagged edges.
 */
export function effectAt(distance: number, { size, hardness }: Pick<Brush, "size" | "hardness">): number {
  const radius = size / 2;
  const core = Math.min(hardness * radius, radius - 1);
  if (distance <= core) return 1;
  if (distance >= radius) return 0;
  const t = (radius - distance) / (radius - core);
  return t * t * (3 - 2 * t);
}
