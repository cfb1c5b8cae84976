import { native } from "../load.js";
import { concatenate } from "../ops.js";
import type { MxArray } from "../types.js";

/**
 * Arrays one after the other along `axis`; they have one shape but for that. On the CPU all threads copy, views as they
 * lie, where MLX copies on one.
 */
export const joined = (parts: readonly MxArray[], axis: number): MxArray =>
  parts.every(native.fusible) ? native.fusedJoin([...parts], axis) : concatenate(parts, axis);
