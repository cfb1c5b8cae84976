import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { abs, array, astype, type MxArray, multiply } from "../../src/index.js";
import { native } from "../../src/load.js";
import { attended, attentionOperands } from "../support/attention.js";
import { near, numbers, onLinux } from "../support/fused.js";

const rounded = (a: MxArray): MxArray => astype(astype(a, "bfloat16"), "float32");

describe("fused attention of bfloat16 values", onLinux, () => {
  it("stays within the rounding of the weights", () => {
    if (!native.multipliesBfloat16()) {
      const [q, k, v] = attentionOperands[1]!;
      assert.throws(() => native.fusedBfloat16Attention(q, k, v, 0.3), /needs a processor .*AVX512-BF16/);
      return;
    }
    for (const operands of attentionOperands) {
      const [q, k, v] = operands.map(rounded) as [MxArray, MxArray, MxArray];
      const expected = attended([q, k, v]);
      const magnitudes = attended([q, k, abs(v)]);
      const values = numbers(native.fusedBfloat16Attention(...operands, 0.3));
      assert.equal(values.length, expected.length);
      // Rounding changes each weight by at most 2^-8 of itself; summing in float32 adds less than 1e-5.
      for (const [at, value] of values.entries())
        assert.ok(
          Math.abs(value - expected[at]!) <= (2 ** -8 + 1e-5) * magnitudes[at]!,
          `${value} at ${at} of [${q.shape}] and ${k.shape[2]} keys, expected ${expected[at]}`,
        );
    }
    const [q, k, v] = attentionOperands[3]!;
    assert.notDeepEqual(
      numbers(native.fusedBfloat16Attention(q, k, v, 0.3)),
      numbers(native.fusedAttention(rounded(q), rounded(k), rounded(v), 0.3, null, false)),
    );
    near(native.fusedBfloat16Attention(q, k, v, -0.3), attended([multiply(rounded(q), -1), k, v]), 4e-3);
  });

  it("keeps NaN and infinity", () => {
    if (!native.multipliesBfloat16()) return;
    const filled = (value: number, at: number): MxArray =>
      array(
        Float32Array.from({ length: 27 }, (_, i) => (i === at ? value : 1)),
        { shape: [1, 1, 9, 3] },
      );
    const ones = filled(1, 0);
    for (const at of [0, 13, 26]) {
      const nan = filled(Number.NaN, at);
      assert.ok(numbers(native.fusedBfloat16Attention(ones, nan, ones, 1)).every(Number.isNaN));
      const rows = numbers(native.fusedBfloat16Attention(nan, ones, ones, 1));
      for (const [i, value] of rows.entries())
        assert.equal(Number.isNaN(value), Math.floor(i / 3) === Math.floor(at / 3));
      const columns = numbers(
        native.fusedBfloat16Attention(ones, ones, filled(Number.POSITIVE_INFINITY, at), 1),
      );
      for (const [i, value] of columns.entries())
        assert.equal(value === Number.POSITIVE_INFINITY, i % 3 === at % 3, `${value} at ${i}`);
    }
  });
});
