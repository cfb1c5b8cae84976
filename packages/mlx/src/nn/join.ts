import { native } from "../load.js";
import { concatenate } from "../ops.js";
import type { MxArray } from "../types.js";

/**
 * Concatenates arrays along `axis`; their shapes agree except for it. On the CPU all threads copy, and views are read
 * in place, where MLX copies on one thread.
 */
export const joined = (parts: readonly MxArray[], axis: number): MxArray =>
  parts.every(native.fusible) ? native.fusedJoin([...parts], axis) : concatenate(parts, axis);
