import { astype, reshape, slice, where } from "../ops.js";
import type { MxArray } from "../types.js";

/**
 * The same values as `a`, computed only after `earlier`: makes parts that share nothing run one after another, so
 * that their intermediate results do not live at the same time. MLX itself goes breadth first.
 */
export function after(a: MxArray, earlier: MxArray): MxArray {
  const first = reshape(
    slice(
      earlier,
      earlier.shape.map(() => [0, 1] as const),
    ),
    [],
  );
  return where(false, astype(first, a.dtype), a);
}

/**
 * Scratch memory that a layer may use at once on the CPU, in bytes. More gains no speed, and as the backend allocates
 * ahead of what it computes, several times as much may be accounted for.
 */
export const scratchBytes = 32 * 2 ** 20;
