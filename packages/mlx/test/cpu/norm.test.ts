import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, random } from "../../src/index.js";
import { native } from "../../src/load.js";
import { formulas } from "../support/activations.js";
import { near, numbers, onLinux } from "../support/fused.js";

describe("fused norms", onLinux, () => {
  it("fusedModulatedNorm equals norm(x) (1 + scale) + shift", () => {
    for (const [batch, tokens, dims] of [
      [1, 1, 5],
      [2, 3, 16],
      [2, 19, 100],
      [1, 40, 3072],
    ] as const) {
      const key = random.key(dims);
      const x = random.normal([batch, tokens, dims], { key, loc: 2, scale: 0.5 });
      const scale = random.normal([batch, 1, dims], { key: random.key(dims + 1) });
      const shift = random.normal([batch, 1, dims], { key: random.key(dims + 2) });
      const [xs, scales, shifts] = [numbers(x), numbers(scale), numbers(shift)];
      const expected: number[] = [];
      for (let row = 0; row < batch * tokens; row++) {
        const values = xs.slice(row * dims, (row + 1) * dims);
        const mean = values.reduce((a, b) => a + b) / dims;
        const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / dims;
        const at = Math.floor(row / tokens) * dims;
        for (const [i, v] of values.entries())
          expected.push(((v - mean) / Math.sqrt(variance + 1e-6)) * (1 + scales[at + i]!) + shifts[at + i]!);
      }
      near(native.fusedModulatedNorm(x, scale, shift, 1e-6), expected);
    }
  });

  it("fusedModulatedNorm uses its eps", () => {
    const x = random.normal([1, 1, 64], { key: random.key(1), scale: 1e-3 });
    const none = array(new Float32Array(64), { shape: [1, 1, 64] });
    const values = numbers(x);
    const mean = values.reduce((a, b) => a + b) / 64;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / 64;
    near(
      native.fusedModulatedNorm(x, none, none, 1e-6),
      values.map((v) => (v - mean) / Math.sqrt(variance + 1e-6)),
    );
  });

  it("fusedLayerNorm equals norm(x) weight + bias for any leading axes", () => {
    for (const shape of [[5], [3, 16], [2, 3, 100], [0, 16]]) {
      const dims = shape.at(-1)!;
      const x = random.normal(shape, { key: random.key(dims), loc: 2, scale: 0.5 });
      // Weights far from 1, which a formula with "1 + scale" would round.
      const weight = random.normal([dims], { key: random.key(dims + 1), scale: 1e-3 });
      const bias = random.normal([dims], { key: random.key(dims + 2), scale: 1e-3 });
      const [xs, weights, biases] = [numbers(x), numbers(weight), numbers(bias)];
      const expected: number[] = [];
      for (let start = 0; start < xs.length; start += dims) {
        const values = xs.slice(start, start + dims);
        const mean = values.reduce((a, b) => a + b) / dims;
        const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / dims;
        for (const [i, v] of values.entries())
          expected.push(((v - mean) / Math.sqrt(variance + 1e-3)) * weights[i]! + biases[i]!);
      }
      const normed = native.fusedLayerNorm(x, weight, bias, 1e-3);
      assert.deepEqual(normed.shape, shape);
      if (expected.length) near(normed, expected);
    }
  });

  it("fusedLayerNorm keeps NaN in its row", () => {
    const row = array([1, Number.NaN, 3, 1, 2, 3], { shape: [2, 3] });
    const [first, second, , fourth] = numbers(
      native.fusedLayerNorm(row, array([1, 1, 1]), array([0, 0, 0]), 0),
    );
    assert.ok(Number.isNaN(first!) && Number.isNaN(second!) && !Number.isNaN(fourth!));
  });

  it("fusedGroupNorm equals the formula, with and without SiLU", () => {
    for (const [n, h, w, channels, groups] of [
      [1, 1, 1, 4, 2],
      [2, 5, 7, 12, 3],
      [1, 70, 65, 64, 2],
    ] as const) {
      const x = random.normal([n, h, w, channels], { key: random.key(channels), loc: 5 });
      const weight = random.normal([channels], { key: random.key(1) });
      const bias = random.normal([channels], { key: random.key(2) });
      const [xs, weights, biases] = [numbers(x), numbers(weight), numbers(bias)];
      const size = channels / groups;
      const positions = h * w;
      const plain = new Array<number>(xs.length);
      for (let image = 0; image < n; image++)
        for (let group = 0; group < groups; group++) {
          const members: number[] = [];
          for (let p = 0; p < positions; p++)
            for (let c = 0; c < size; c++)
              members.push((image * positions + p) * channels + group * size + c);
          const mean = members.reduce((a, at) => a + xs[at]!, 0) / members.length;
          const variance = members.reduce((a, at) => a + (xs[at]! - mean) ** 2, 0) / members.length;
          for (const at of members)
            plain[at] =
              ((xs[at]! - mean) / Math.sqrt(variance + 1e-6)) * weights[at % channels]! +
              biases[at % channels]!;
        }
      near(native.fusedGroupNorm(x, weight, bias, groups, 1e-6, false), plain, 2e-6);
      near(native.fusedGroupNorm(x, weight, bias, groups, 1e-6, true), plain.map(formulas.silu), 2e-6);
    }
  });
});
