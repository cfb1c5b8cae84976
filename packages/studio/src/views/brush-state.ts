import { signal } from "@preact/signals";
import type { Brush } from "../canvas/index.js";

/** The selected brush for depth; null lets pointers move the picture instead. */
export const brush = signal<Brush | null>(null);

/** The selected brush for the mask; null lets pointers move the picture instead. */
export const maskBrush = signal<Brush | null>(null);

/** Whether clipped depth is marked, while near or far is dragged. */
export const clipping = signal(false);
