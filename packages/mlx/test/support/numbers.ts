import assert from "node:assert/strict";
import { astype, defaultDevice, type MxArray, random, scope } from "../../src/index.js";

export const MiB = 2 ** 20;

/** For tests of the CPU backend. */
export const onCpu = { skip: defaultDevice() !== "cpu" };

/** ‖a − b‖ / ‖b‖. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** The values as float32. */
export const values = (a: MxArray): Float32Array =>
  scope(() => astype(a, "float32").toTypedArray()) as Float32Array;

/** Asserts equal shapes and `‖a − b‖ / ‖b‖ <= tolerance`. */
export function assertClose(a: MxArray, b: MxArray, tolerance: number): void {
  assert.deepEqual(a.shape, b.shape);
  const error = relativeError(values(a), values(b));
  assert.ok(error <= tolerance, `relative error ${error}`);
}

/** Normal values of deviation `scale` around `loc`, the same for the same seed. */
export const normal = (shape: number[], seed: number, scale = 1, loc = 0): MxArray =>
  random.normal(shape, { key: random.key(seed), scale, loc });
