import assert from "node:assert/strict";
import type { MxArray } from "../../src/index.js";
import { native } from "../../src/load.js";
import { relativeError } from "./numbers.js";

/*
 * For the tests of the fused CPU operations, which compare them with formulas in double precision.
 * instruction-sets.test.ts runs those tests once for each instruction set.
 */

export const onLinux = process.platform === "linux" ? {} : { skip: "fused operations exist on Linux only" };

/** For tests that multiply integers. */
export const withIntegers =
  process.platform === "linux" && native.multipliesIntegers(4) ? {} : { skip: "needs AVX2 or AVX-512 VNNI" };

/** The bit widths whose products are integer products on this processor. */
export const integerBits =
  process.platform === "linux"
    ? ([2, 3, 4, 5, 6, 8] as const).filter((bits) => native.multipliesIntegers(bits))
    : [];

/** The 16-bit dtypes. */
export const halves = ["bfloat16", "float16"] as const;

/** The float32 values. */
export const numbers = (a: MxArray): number[] => Array.from(a.toTypedArray() as Float32Array);

/** Asserts `‖actual − expected‖ / ‖expected‖ <= tolerance`. */
export function near(actual: MxArray, expected: readonly number[], tolerance = 1e-6): void {
  const found = numbers(actual);
  assert.equal(found.length, expected.length);
  if (expected.length === 0) return;
  const error = relativeError(found, expected);
  assert.ok(error <= tolerance, `relative error ${error}`);
}

/** The integer counterpart of `fusedQuantizedLinear`, with the same arguments. */
export function integerLinear(
  x: MxArray,
  w: MxArray,
  scales: MxArray,
  biases: MxArray,
  bias: MxArray | null,
  groupSize: number,
  bits: number,
  activation: string | null,
): MxArray {
  const rounded = native.fusedRoundInputs([x], groupSize, bits);
  const shape = [...x.shape];
  return native.fusedIntegerLinear(rounded, shape, w, scales, biases, bias, groupSize, bits, activation);
}
