import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  array,
  concatenate,
  dequantize,
  type MxArray,
  ones,
  quantize,
  random,
  slice,
  transpose,
} from "../../src/index.js";
import { native } from "../../src/load.js";
import { integerBits, integerLinear, near, numbers, withIntegers } from "../support/fused.js";

/** The largest integer of rounded inputs for weights of `bits`; it depends on the instruction set. */
const mostOfInputs = (bits: number): number =>
  native.fusedRoundInputs([ones([1, 64])], 64, bits).toTypedArray()[0] as number;

describe("fused integer Linear", withIntegers, () => {
  it("equals the product of the rounded input, within the bound of the rounding", () => {
    for (const bits of integerBits)
      for (const [rows, inputs, features, groupSize] of [
        [1, 64, 1, 64],
        [7, 640, 70, 64],
        [13, 1088, 257, 32],
        [0, 64, 3, 64],
      ] as const) {
        const x = random.normal([rows, inputs], { key: random.key(rows), loc: 0.5 });
        const weights = random.normal([features, inputs], { key: random.key(bits) });
        const matrix = quantize(weights, { bits, groupSize });
        const bias = random.normal([features], { key: random.key(7) });
        // The input rounded to 8 bits, in double precision.
        const xs = numbers(x);
        const rounded = new Array<number>(xs.length);
        const steps = new Array<number>(xs.length);
        for (let at = 0; at < xs.length; at += groupSize) {
          const group = xs.slice(at, at + groupSize);
          const step = Math.max(...group.map(Math.abs)) / mostOfInputs(bits);
          for (const [i, v] of group.entries()) {
            rounded[at + i] = Math.round(v / step) * step;
            steps[at + i] = step;
          }
        }
        const dense = numbers(dequantize(matrix, { bits, groupSize }));
        const biases = numbers(bias);
        const expected = Array.from({ length: rows * features }, (_, at) => {
          const [row, feature] = [Math.floor(at / features), at % features];
          let sum = biases[feature]!;
          for (let i = 0; i < inputs; i++) sum += rounded[row * inputs + i]! * dense[feature * inputs + i]!;
          return sum;
        });
        const args = [x, matrix.weight, matrix.scales, matrix.biases] as const;
        // Half a step of the integers that represent sums of inputs and biases of weights.
        const groups = inputs / groupSize;
        const most = Math.min(32767, Math.floor(Math.sqrt(2 ** 31 / groups) - 1));
        const rowsOf = (values: readonly number[], length: number): number[][] =>
          Array.from({ length: values.length / length }, (_, i) =>
            values.slice(i * length, (i + 1) * length),
          );
        const biasesOfFeatures = rowsOf(numbers(matrix.biases).map(Math.abs), groups);
        const sumsOfRows = rowsOf(
          rowsOf(rounded, groupSize).map((group) => Math.abs(group.reduce((sum, v) => sum + v, 0))),
          groups,
        );
        const bound = Array.from({ length: rows * features }, (_, at) => {
          const [biasesOf, sums] = [biasesOfFeatures[at % features]!, sumsOfRows[Math.floor(at / features)]!];
          const [halfSum, halfBias] = [Math.max(...sums) / most / 2, Math.max(...biasesOf) / most / 2];
          return sums.reduce(
            (sum, v, g) => sum + v * halfBias + biasesOf[g]! * halfSum + halfSum * halfBias,
            0,
          );
        });
        const share = rows > 0 ? Math.hypot(...bound) / Math.hypot(...expected) : 0;
        // A value halfway between two integers may round to either.
        near(integerLinear(...args, bias, groupSize, bits, null), expected, 2e-4 + share);
        // Three standard deviations of rounding errors that are uniform over a step.
        const exact = numbers(native.fusedQuantizedLinear(...args, null, groupSize, bits, null));
        const variance = exact.reduce((total, _, at) => {
          const [row, feature] = [Math.floor(at / features), at % features];
          for (let i = 0; i < inputs; i++)
            total += (steps[row * inputs + i]! * dense[feature * inputs + i]!) ** 2 / 12;
          return total;
        }, 0);
        const lost = rows > 0 ? (3 * Math.sqrt(variance)) / Math.hypot(...exact) : 0;
        near(integerLinear(...args, null, groupSize, bits, null), exact, lost + share);
      }
  });

  it("keeps NaN", () => {
    const nan = array(
      Float32Array.from({ length: 64 }, (_, i) => (i === 9 ? Number.NaN : 1)),
      { shape: [1, 64] },
    );
    const some = quantize(random.normal([40, 64], { key: random.key(1) }), { bits: 4 });
    const product = integerLinear(nan, some.weight, some.scales, some.biases, null, 64, 4, null);
    assert.ok(numbers(product).every(Number.isNaN));
  });

  it("fits the largest integers of every kind", () => {
    const [inputs, group] = [128, 64];
    for (const bits of integerBits) {
      const filled = (word: number): MxArray =>
        array(new Uint32Array((inputs * bits) / 32).fill(word), { shape: [1, (inputs * bits) / 32] });
      const [largest, none] = [filled(0xffffffff), filled(0)];
      const scales = array([1, 1], { shape: [1, 2] });
      const biases = array([0, 0], { shape: [1, 2] });
      const most = mostOfInputs(bits);
      for (const signs of [
        [1, 1],
        [-1, -1],
        [1, -1],
        [-1, 1],
      ] as const) {
        const values = Float32Array.from({ length: inputs }, (_, i) => signs[i % 2]! * most);
        const x = array(values, { shape: [1, inputs] });
        const product = (words: MxArray): number[] =>
          numbers(integerLinear(x, words, scales, biases, null, group, bits, null));
        assert.deepEqual(product(largest), [((signs[0] + signs[1]) / 2) * most * (2 ** bits - 1) * inputs]);
        assert.deepEqual(product(none), [0]);
      }
    }
  });

  it("takes more rows than it multiplies at a time", () => {
    const x = random.normal([1600, 64], { key: random.key(1) });
    const { weight, scales, biases } = quantize(random.normal([33, 64], { key: random.key(2) }), { bits: 4 });
    const rowsOf = (from: number, to: number): number[] =>
      numbers(integerLinear(slice(x, [[from, to]]), weight, scales, biases, null, 64, 4, null));
    assert.deepEqual(rowsOf(0, 1600), [...rowsOf(0, 700), ...rowsOf(700, 1600)]);
  });

  it("keeps values that are not finite in their row or feature", () => {
    const [rows, inputs, features] = [8, 192, 37];
    const whole = random.normal([rows, inputs], { key: random.key(1) });
    const matrix = quantize(random.normal([features, inputs], { key: random.key(2) }), { bits: 4 });
    const product = (x: MxArray, biases: MxArray): number[] =>
      numbers(integerLinear(x, matrix.weight, matrix.scales, biases, null, 64, 4, null));
    const expected = product(whole, matrix.biases);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const values = Float32Array.from(numbers(whole));
      values[3 * inputs + 100] = bad;
      for (const [at, v] of product(array(values, { shape: [rows, inputs] }), matrix.biases).entries())
        if (Math.floor(at / features) === 3) assert.ok(!Number.isFinite(v), `row 3 has ${v} for ${bad}`);
        else assert.equal(v, expected[at]);
      const biases = Float32Array.from(numbers(matrix.biases));
      biases[20 * 3 + 1] = bad;
      for (const [at, v] of product(whole, array(biases, { shape: [features, 3] })).entries())
        if (at % features === 20) assert.ok(!Number.isFinite(v), `feature 20 has ${v} for ${bad}`);
        else assert.equal(v, expected[at]);
    }
  });

  it("rounds parts of the input like the whole", () => {
    const part = (width: number): MxArray => random.normal([2, 7, width], { key: random.key(width) });
    // The last two are not contiguous.
    const parts = [
      part(192),
      slice(part(128), [null, null, [0, 128, 2]]),
      transpose(random.normal([2, 1088, 7], { key: random.key(9) }), [0, 2, 1]),
    ];
    const whole = concatenate(parts, -1);
    const { weight, scales, biases } = quantize(random.normal([33, 1344], { key: random.key(2) }), {
      bits: 4,
    });
    const product = native.fusedIntegerLinear(
      native.fusedRoundInputs(parts, 64, 4),
      [...whole.shape],
      ...([weight, scales, biases, null, 64, 4, null] as const),
    );
    assert.deepEqual(product.shape, [2, 7, 33]);
    assert.deepEqual(
      numbers(product),
      numbers(integerLinear(whole, weight, scales, biases, null, 64, 4, null)),
    );
  });

  it("rejects parts and rounded inputs that do not fit", () => {
    const part = (width: number): MxArray => random.normal([2, 7, width], { key: random.key(width) });
    const whole = part(1344);
    const { weight, scales, biases } = quantize(random.normal([33, 1344], { key: random.key(2) }), {
      bits: 4,
    });
    for (const bad of [
      () => native.fusedRoundInputs([part(192), part(65)], 64, 4),
      () => native.fusedRoundInputs([part(192), random.normal([2, 6, 64])], 64, 4),
      () => native.fusedIntegerLinear(whole, [...whole.shape], weight, scales, biases, null, 64, 4, null),
      () =>
        native.fusedIntegerLinear(
          native.fusedRoundInputs([part(64)], 64, 4),
          [...whole.shape],
          ...([weight, scales, biases, null, 64, 4, null] as const),
        ),
    ])
      assert.throws(bad, /takes (parts whose shapes agree|inputs rounded for this matrix)/);
  });

  it("gives finite sums for rows of the smallest values", () => {
    const { weight, scales, biases } = quantize(random.normal([33, 64], { key: random.key(2) }), { bits: 4 });
    for (const size of [1e-28, 1e-31, 1e-33, 1e-36, 1e-40, 0]) {
      const x = array(new Float32Array(64).fill(size), { shape: [1, 64] });
      const exact = numbers(native.fusedQuantizedLinear(x, weight, scales, biases, null, 64, 4, null));
      const product = integerLinear(x, weight, scales, biases, null, 64, 4, null);
      if (size > 1e-31) near(product, exact, 1.5e-2);
      for (const v of numbers(product)) assert.ok(Math.abs(v) <= 64 * 4 * size, `${v} for ${size}`);
    }
  });
});
