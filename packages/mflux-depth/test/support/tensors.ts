import { astype, type MxArray, scope } from "@mflux-depth/mlx";

/** The path of a file in this package, seen from the compiled tests. */
export const at = (path: string): string => new URL(`../../../${path}`, import.meta.url).pathname;

/** The elements of an array of any dtype, as float32. */
export const values = (a: MxArray): Float32Array =>
  scope(() => astype(a, "float32").toTypedArray()) as Float32Array;

/** `‖found − expected‖ / ‖expected‖`; NaN, which fails every comparison, if the lengths differ. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Number.NaN;
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (found[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
