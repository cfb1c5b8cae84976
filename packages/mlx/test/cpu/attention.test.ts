import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, type MxArray, multiply, random, transpose } from "../../src/index.js";
import { native } from "../../src/load.js";
import { attended, attentionOperands } from "../support/attention.js";
import { near, numbers, onLinux } from "../support/fused.js";

describe("fused attention", onLinux, () => {
  it("equals softmax(scale · q kᵀ) v", () => {
    for (const operands of attentionOperands)
      near(native.fusedAttention(...operands, 0.3, null, false), attended(operands));
  });

  it("takes a negative scale", () => {
    const [q, k, v] = attentionOperands[3]!;
    near(native.fusedAttention(q, k, v, -0.3, null, false), attended([multiply(q, -1), k, v]));
  });

  it("takes a scale of 0", () => {
    const [q, k, v] = attentionOperands[3]!;
    near(native.fusedAttention(q, k, v, 0, null, false), attended([multiply(q, 0), k, v]));
  });

  it("adds a mask of any broadcast shape and layout", () => {
    for (const operands of attentionOperands) {
      const [batch, heads, queries, keys] = [...operands[0].shape.slice(0, 3), operands[1].shape[2]!] as [
        number,
        number,
        number,
        number,
      ];
      for (const shape of [
        [batch, heads, queries, keys],
        [1, heads, queries, keys],
        [batch, 1, 1, keys],
        [1, 1, queries, keys],
      ] as const) {
        // With the heads last in memory, like relative position biases.
        const reversed = random.normal([...shape].reverse(), { key: random.key(4) });
        const mask = transpose(reversed);
        const values = numbers(mask);
        const strides = shape.map((size, axis) =>
          size === 1 ? 0 : shape.slice(axis + 1).reduce((product, inner) => product * inner, 1),
        ) as [number, number, number, number];
        const expected = attended(
          operands,
          (b, head, query, key) =>
            values[b * strides[0] + head * strides[1] + query * strides[2] + key * strides[3]]!,
        );
        near(native.fusedAttention(...operands, 0.3, mask, false), expected);
      }
    }
  });

  it("hides later keys with a causal mask", () => {
    for (const operands of attentionOperands) {
      const [queries, keys] = [operands[0].shape[2]!, operands[1].shape[2]!];
      const expected = attended(operands, (_batch, _head, query, key) =>
        key <= query + keys - queries ? 0 : Number.NEGATIVE_INFINITY,
      );
      near(native.fusedAttention(...operands, 0.3, null, true), expected);
    }
  });

  it("rejects a causal mask with more queries than keys", () => {
    const [q, k] = attentionOperands[1]!;
    assert.throws(
      () => native.fusedAttention(k, q, q, 0.3, null, true),
      /fusedAttention: .*at least as many keys as queries/,
    );
  });

  it("rejects a mask of another shape", () => {
    const [q, k, v] = attentionOperands[1]!;
    assert.throws(
      () => native.fusedAttention(q, k, v, 0.3, random.normal([1, 2, 5, 9]), false),
      /takes a mask/,
    );
  });

  it("hides keys with minus infinity, and gives NaN for a row without keys", () => {
    const operands = attentionOperands[1]!;
    const hidden = (query: number, key: number): boolean => query === 2 || key > 4;
    const mask = array(
      Float32Array.from({ length: 45 }, (_, at) =>
        hidden(Math.floor(at / 9), at % 9) ? Number.NEGATIVE_INFINITY : 0,
      ),
      { shape: [1, 1, 5, 9] },
    );
    const values = numbers(native.fusedAttention(...operands, 0.3, mask, false));
    const expected = attended(operands, (_batch, _head, _query, key) =>
      key > 4 ? Number.NEGATIVE_INFINITY : 0,
    );
    for (const [at, value] of values.entries())
      if (Math.floor(at / 24) % 5 === 2) assert.ok(Number.isNaN(value));
      else assert.ok(Math.abs(value - expected[at]!) < 1e-5);
  });

  it("hides whole blocks of keys, and averages rows hidden by the lowest finite number", () => {
    const operands = attentionOperands[5]!;
    const [queries, keys] = [operands[0].shape[2]!, operands[1].shape[2]!];
    const lowest = -3.4028234663852886e38;
    const masked = (value: number, hides: (query: number, key: number) => boolean): MxArray =>
      array(
        Float32Array.from({ length: queries * keys }, (_, at) =>
          hides(Math.floor(at / keys), at % keys) ? value : 0,
        ),
        { shape: [1, 1, queries, keys] },
      );
    for (const value of [Number.NEGATIVE_INFINITY, lowest]) {
      const early = masked(value, (_query, key) => key < 150);
      near(
        native.fusedAttention(...operands, 0.3, early, false),
        attended(operands, (_batch, _head, _query, key) => (key < 150 ? Number.NEGATIVE_INFINITY : 0)),
      );
    }
    const [q, k, v] = operands;
    near(
      native.fusedAttention(
        ...operands,
        0.3,
        masked(lowest, () => true),
        false,
      ),
      attended([multiply(q, 0), k, v]),
    );
  });

  it("does not overflow with large scores", () => {
    const ones = array(new Float32Array(32).fill(100), { shape: [1, 1, 4, 8] });
    near(native.fusedAttention(ones, ones, ones, 1, null, false), new Array(32).fill(100));
  });

  it("keeps NaN", () => {
    const ones = array(new Float32Array(32).fill(1), { shape: [1, 1, 4, 8] });
    const nan = array(
      Float32Array.from({ length: 32 }, (_, i) => (i === 9 ? Number.NaN : 1)),
      { shape: [1, 1, 4, 8] },
    );
    assert.ok(numbers(native.fusedAttention(ones, nan, ones, 1, null, false)).every(Number.isNaN));
  });
});
