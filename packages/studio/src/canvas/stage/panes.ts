import type { Size } from "../field/rectangle.js";
import type { Comparison, View } from "./view.js";
import type { Point } from "./viewport.js";

/** A part of the stage that shows one view, in CSS pixels from the stage's upper left corner. */
export interface Pane {
  readonly view: View;
  /** Where the view is laid out. */
  readonly x: number;
  readonly width: number;
  readonly height: number;
  /** The visible part of the view, from and to along x. */
  readonly from: number;
  readonly to: number;
}

/** The gap between two views next to each other. */
const gap = 8;

/**
 * Lays out the stage. In a comparison, the reference is on the left.
 * @param split where the slider is, as a share of the width
 */
export function panesOf(view: View, compare: Comparison | null, stage: Size, split: number): Pane[] {
  const { width, height } = stage;
  if (!compare) return [{ view, x: 0, width, height, from: 0, to: width }];
  if (compare.mode === "slider") {
    const at = Math.round(split * width);
    return [
      { view: compare.with, x: 0, width, height, from: 0, to: at },
      { view, x: 0, width, height, from: at, to: width },
    ];
  }
  const half = Math.floor((width - gap) / 2);
  return [
    { view: compare.with, x: 0, width: half, height, from: 0, to: half },
    { view, x: width - half, width: half, height, from: width - half, to: width },
  ];
}

/** The pane under a point, or the nearest pane. */
export function paneAt(panes: readonly Pane[], point: Point): Pane {
  return panes.find(({ to }) => point.x < to) ?? panes[panes.length - 1]!;
}
