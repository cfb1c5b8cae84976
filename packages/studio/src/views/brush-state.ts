import { signal } from "@preact/signals";
import type { Brush } from "../canvas/index.js";

/** The brush in the hand; null moves the picture instead. */
export const brush = signal<Brush | null>(null);

/** The brush for what of the photo may change; null moves the picture instead. */
export const maskBrush = signal<Brush | null>(null);

/** Whether the clipped parts of the depth are marked, as long as near or far is dragged. */
export const clipping = signal(false);
