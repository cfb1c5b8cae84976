import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as mx from "../src/index.js";
import { close } from "./support/assertions.js";
import { dense } from "./support/dense.js";
import { golden } from "./support/golden.js";

const expected = (name: string): mx.MxArray => {
  const found = golden.get(name);
  assert.ok(found, name);
  return found;
};

function identical(found: mx.MxArray, name: string): void {
  assert.deepEqual([found.dtype, found.shape], [expected(name).dtype, expected(name).shape], name);
  assert.deepEqual(found.toTypedArray(), expected(name).toTypedArray(), name);
}

describe("quantization equals MLX's in Python", () => {
  for (const [dtype, tolerance] of [
    ["f32", 1e-5],
    ["bf16", 1e-2],
  ] as const)
    for (const bits of [3, 4, 5, 6, 8] as const)
      test(`${dtype}, ${bits} bits`, () => {
        const name = `${dtype}.q${bits}`;
        const q = mx.quantize(expected(`${dtype}.weight`), { bits });
        identical(q.weight, `${name}.weight`);
        identical(q.scales, `${name}.scales`);
        identical(q.biases, `${name}.biases`);
        identical(mx.dequantize(q, { bits }), `${name}.dequantized`);
        const found = mx.quantizedMatmul(expected(`${dtype}.x`), q, { bits });
        const wanted = dense(expected(`${name}.matmul`));
        const norm = (values: readonly number[]): number => Math.hypot(...values);
        const apart = norm(dense(found).values.map((v, i) => v - wanted.values[i]!)) / norm(wanted.values);
        assert.ok(apart <= tolerance, `relative error ${apart}`);
        close(found, wanted, dtype === "f32" ? 1e-5 : 3e-2);
      });
});
