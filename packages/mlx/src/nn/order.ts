import { astype, reshape, slice, where } from "../ops.js";
import type { MxArray } from "../types.js";

/**
 * Returns the values of `a`, computed only after `earlier`. It serializes independent computations, so that their
 * intermediate results do not exist at the same time; MLX itself evaluates breadth first.
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
 * Scratch memory of a layer on the CPU, in bytes. More does not make layers faster. The backend allocates ahead of its
 * computation, so several times this much may be counted as in use.
 */
export const scratchBytes = 32 * 2 ** 20;
