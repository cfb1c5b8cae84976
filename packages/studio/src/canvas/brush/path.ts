import type { Brush, BrushPoint } from "./brush.js";

/** Evenly spaced dabs along a stroke, regardless of how far apart the pointer's events are. */
export class StrokePath {
  readonly brush: Brush;
  #last: BrushPoint;
  /** The distance from the last point to the next dab. */
  #ahead: number;

  constructor(brush: Brush, start: BrushPoint) {
    this.brush = brush;
    this.#last = start;
    this.#ahead = this.#spacing;
  }

  /** Close enough that the soft rims of neighbouring dabs merge. */
  get #spacing(): number {
    return Math.max(1, this.brush.size / 8);
  }

  /** The dabs between the last point and this one. */
  to(point: BrushPoint): BrushPoint[] {
    const from = this.#last;
    const distance = Math.hypot(point.x - from.x, point.y - from.y);
    const dabs: BrushPoint[] = [];
    let at = this.#ahead;
    for (; at <= distance; at += this.#spacing) dabs.push(between(from, point, at / distance));
    this.#ahead = at - distance;
    this.#last = point;
    return dabs;
  }
}

const between = (a: BrushPoint, b: BrushPoint, t: number): BrushPoint => ({
  x: a.x + (b.x - a.x) * t,
  y: a.y + (b.y - a.y) * t,
  pressure: a.pressure + (b.pressure - a.pressure) * t,
});
