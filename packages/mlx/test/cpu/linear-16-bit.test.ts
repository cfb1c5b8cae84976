import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, astype, contiguous, random, transpose } from "../../src/index.js";
import { native } from "../../src/load.js";
import { halves, near, numbers, onLinux } from "../support/fused.js";

describe("fused Linear with a 16-bit matrix", onLinux, () => {
  it("equals the product with the widened matrix, with and without a bias", () => {
    for (const dtype of halves)
      for (const [rows, inputs, features] of [
        [1, 1, 1],
        [0, 5, 3],
        [5, 515, 300],
        [3, 1100, 257],
      ] as const) {
        const x = random.normal([rows, inputs], { key: random.key(rows) });
        const w = astype(random.normal([features, inputs], { key: random.key(2) }), dtype);
        const bias = random.normal([features], { key: random.key(3) });
        const [xs, ws, biases] = [numbers(x), numbers(astype(w, "float32")), numbers(bias)];
        const product = Array.from({ length: rows * features }, (_, at) => {
          const [row, feature] = [Math.floor(at / features), at % features];
          let sum = 0;
          for (let i = 0; i < inputs; i++) sum += xs[row * inputs + i]! * ws[feature * inputs + i]!;
          return sum;
        });
        const biased = product.map((v, at) => v + biases[at % features]!);
        near(native.fusedLinear(x, w, null, null), product);
        near(native.fusedLinear(x, w, bias, null), biased);
        // Neither operand needs to be contiguous.
        near(
          native.fusedLinear(
            transpose(contiguous(transpose(x))),
            transpose(contiguous(transpose(w))),
            bias,
            null,
          ),
          biased,
        );
      }
  });

  it("widens every 16-bit value exactly", () => {
    // One row per value: the identity times the column of all values.
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    for (const dtype of halves) {
      const column = array(all, { shape: [65536, 1], dtype });
      const widened = native.fusedLinear(array([1], { shape: [1, 1] }), column, null, null);
      assert.deepEqual(
        new Uint32Array((widened.toTypedArray() as Float32Array).slice().buffer).map(withoutPayload),
        new Uint32Array((astype(column, "float32").toTypedArray() as Float32Array).slice().buffer).map(
          withoutPayload,
        ),
      );
    }
  });

  /** Maps all NaN patterns to one, and both zeros to one, because a sum loses the sign of zero. */
  function withoutPayload(bits: number): number {
    const magnitude = bits & 0x7fffffff;
    return magnitude > 0x7f800000 ? 0x7fc00000 : magnitude === 0 ? 0 : bits;
  }
});
