import type { DepthField } from "../field/depth-field.js";
import { type Rectangle, union } from "../field/rectangle.js";
import { type Statistics, statisticsOf } from "../field/statistics.js";
import type { Brush, BrushPoint } from "./brush.js";
import { dab } from "./dab.js";
import { StrokeHistory } from "./history.js";
import { StrokePath } from "./path.js";

/**
 * A depth map that can be painted: the field, its strokes, and what depends on its values. Views subscribe, and draw
 * what has changed since their last update.
 */
export class DepthPainting {
  readonly field: DepthField;
  #history: StrokeHistory;
  #path: StrokePath | null = null;
  #statistics: Statistics | null = null;
  #revision = 0;
  #listeners = new Set<(region: Rectangle | null) => void>();

  /** @param field is painted in place; pass a copy to keep the original */
  constructor(field: DepthField) {
    this.field = field;
    this.#history = new StrokeHistory(field);
  }

  /** Increases with every change of the values. */
  get revision(): number {
    return this.#revision;
  }

  get canUndo(): boolean {
    return this.#history.canUndo;
  }

  get canRedo(): boolean {
    return this.#history.canRedo;
  }

  /** Whether strokes have changed the field since it was made. */
  get painted(): boolean {
    return this.#history.canUndo || this.#history.forgetful;
  }

  /** Whether a stroke has begun and not ended. */
  get isStroking(): boolean {
    return this.#path !== null;
  }

  /** Statistics of the current values. */
  get statistics(): Statistics {
    this.#statistics ??= statisticsOf(this.field);
    return this.#statistics;
  }

  /**
   * Calls the listener after every change with the region whose values are new, or null when only a stroke has ended.
   * @returns a function that stops it
   */
  subscribe(listener: (region: Rectangle | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The inverse depth of a pixel, or of the nearest one if the point lies outside. */
  valueAt(x: number, y: number): number {
    const { width, height, values } = this.field;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    return values[within(row, height) * width + within(column, width)]!;
  }

  /** Begins a stroke with a dab at a point. */
  begin(brush: Brush, point: BrushPoint): void {
    this.#history.begin();
    this.#path = new StrokePath(brush, point);
    this.#paint([point]);
  }

  /** Continues the stroke to a point; does nothing without one. */
  move(point: BrushPoint): void {
    if (this.#path) this.#paint(this.#path.to(point));
  }

  /** Ends the stroke, which becomes one step of undo; does nothing without one. */
  end(): void {
    if (!this.#path) return;
    this.#path = null;
    this.#history.end();
    for (const listener of this.#listeners) listener(null);
  }

  /** Reverts the stroke in progress; does nothing without one. */
  abandon(): void {
    this.#path = null;
    const region = this.#history.abandon();
    if (region) this.#changed(region);
  }

  /** Undoes the last stroke. */
  undo(): void {
    const region = this.#history.undo();
    if (region) this.#changed(region);
  }

  /** Redoes the stroke that was undone last. */
  redo(): void {
    const region = this.#history.redo();
    if (region) this.#changed(region);
  }

  #paint(points: readonly BrushPoint[]): void {
    const { brush } = this.#path!;
    let region: Rectangle | null = null;
    for (const point of points) {
      const touched = dab(this.field, brush, point, (before) => this.#history.keep(before));
      if (touched) region = region ? union(region, touched) : touched;
    }
    if (region) this.#changed(region);
  }

  #changed(region: Rectangle): void {
    this.#revision++;
    this.#statistics = null;
    for (const listener of this.#listeners) listener(region);
  }
}

const within = (index: number, count: number): number => Math.min(Math.max(index, 0), count - 1);
