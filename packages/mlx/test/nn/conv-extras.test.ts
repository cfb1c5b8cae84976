import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  convGeneral,
  divide,
  evaluateSync,
  type MxArray,
  mean,
  memory,
  multiply,
  random,
  repeat,
  reshape,
  scope,
  sigmoid,
  sqrt,
  square,
  subtract,
  sum,
} from "../../src/index.js";
import { native } from "../../src/load.js";
import { Conv2d, GroupNorm, randomize } from "../../src/nn/index.js";

/* Convolution in bands of rows, with the operations fused into it, against MLX's convolution of the whole image. */

const difference = (a: MxArray, b: MxArray): number =>
  scope(() => Number(sqrt(divide(sum(square(subtract(a, b))), sum(square(b)))).toTypedArray()[0]));

/** Computes GroupNorm and SiLU with plain operations. */
function normed(x: MxArray, { weight, bias, groups, eps }: GroupNorm): MxArray {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const grouped = reshape(x, [n, h, w, groups, c / groups]);
  const centred = subtract(grouped, mean(grouped, { axis: [1, 2, 4], keepDims: true }));
  const variance = mean(square(centred), { axis: [1, 2, 4], keepDims: true });
  const y = add(multiply(reshape(divide(centred, sqrt(add(variance, eps))), x.shape), weight), bias);
  return multiply(y, sigmoid(y));
}

interface Case {
  /** batch, height, width, channels in, channels out */
  readonly sizes: readonly [number, number, number, number, number];
  readonly kernelSize: number;
  readonly stride?: number;
  readonly padding?: number | readonly [number, number];
  readonly repeat?: number;
  readonly norm?: boolean;
  readonly residual?: boolean;
  readonly bias?: boolean;
}

const cases: readonly Case[] = [
  { sizes: [1, 9, 11, 8, 12], kernelSize: 3, padding: 1 },
  { sizes: [2, 9, 11, 8, 12], kernelSize: 3, padding: 1, norm: true, residual: true },
  { sizes: [1, 40, 33, 16, 24], kernelSize: 3, padding: 1, norm: true, residual: true, bias: false },
  // Rows longer than a run, and rows so short that many share one.
  { sizes: [1, 5, 1500, 4, 6], kernelSize: 3, padding: 1, norm: true },
  { sizes: [1, 400, 3, 4, 6], kernelSize: 3, padding: 1, norm: true, residual: true },
  { sizes: [1, 1, 1, 4, 4], kernelSize: 3, padding: 1 },
  { sizes: [2, 16, 17, 8, 8], kernelSize: 3, stride: 2, padding: [0, 1] },
  { sizes: [2, 21, 17, 3, 20], kernelSize: 4, stride: 3, padding: [2, 0], norm: false, residual: true },
  { sizes: [2, 24, 24, 3, 20], kernelSize: 8, stride: 8 },
  { sizes: [1, 31, 7, 20, 5], kernelSize: 1, residual: true },
  { sizes: [2, 13, 19, 8, 4], kernelSize: 3, padding: 1, repeat: 2 },
  { sizes: [1, 13, 19, 8, 4], kernelSize: 3, padding: 1, repeat: 3, norm: true, residual: true },
  { sizes: [1, 8, 8, 8, 4], kernelSize: 5, padding: [3, 2], repeat: 2, stride: 2 },
  // Large enough for Winograd's algorithm: with odd sides, several blocks and channels that do not fill a vector.
  { sizes: [1, 32, 32, 32, 32], kernelSize: 3, padding: 1 },
  // One position, or one channel, too few for it.
  { sizes: [1, 31, 33, 32, 32], kernelSize: 3, padding: 1 },
  { sizes: [1, 32, 32, 31, 32], kernelSize: 3, padding: 1 },
  { sizes: [2, 33, 75, 40, 33], kernelSize: 3, padding: 1, residual: true },
  { sizes: [2, 35, 33, 34, 50], kernelSize: 3, padding: 1, norm: true, residual: true, bias: false },
  { sizes: [1, 17, 25, 32, 48], kernelSize: 3, padding: 1, repeat: 2, norm: true, residual: true },
  { sizes: [1, 40, 33, 64, 32], kernelSize: 3, padding: [2, 0] },
  { sizes: [1, 50, 41, 32, 64], kernelSize: 3 },
];

for (const [index, one] of cases.entries()) {
  const { sizes, kernelSize, stride = 1, padding = 0, repeat: times = 1 } = one;
  test(`convolution ${JSON.stringify(one)} equals that of the whole image`, () => {
    const [batch, height, width, inChannels, outChannels] = sizes;
    using conv = new Conv2d(inChannels, outChannels, { kernelSize, stride, padding, bias: one.bias ?? true });
    using norm = new GroupNorm(one.norm ? inChannels / 2 : 1, inChannels, { eps: 1e-6 });
    randomize(conv, random.key(index), 0.3);
    randomize(norm, random.key(index + 100), 0.5);
    using x = random.normal([batch, height, width, inChannels], { loc: 0.5, key: random.key(index + 200) });

    using plain = scope(() => {
      const input = one.norm ? normed(x, norm) : x;
      const [before, after] = typeof padding === "number" ? [padding, padding] : padding;
      return convGeneral(repeat(repeat(input, times, 1), times, 2), conv.weight, {
        stride: [stride, stride],
        paddingBefore: [before, before],
        paddingAfter: [after, after],
      });
    });
    using residual = random.normal(plain.shape, { key: random.key(index + 300) });
    using expected = scope(() => {
      const biased = conv.bias ? add(plain, conv.bias) : plain;
      return one.residual ? add(biased, residual) : biased;
    });
    using actual = conv.forward(x, {
      ...(one.norm && { norm }),
      // Nobody else holds the sum, so the result takes its buffer.
      ...(one.residual && { residual: add(residual, 0) }),
      repeat: times,
    });
    assert.deepEqual(actual.shape, expected.shape);
    const error = difference(actual, expected);
    assert.ok(error <= 2e-6, `relative error ${error}`);
  });
}

test("a convolution takes the memory of its result, and reuses buffers that it may overwrite", {
  skip: process.platform === "linux" ? false : "other systems use MLX's convolution",
}, () => {
  const shape = [1, 256, 256, 32];
  const bytes = 4 * 256 * 256 * 32;
  using conv = new Conv2d(32, 32, { kernelSize: 3, padding: 1 });
  using norm = new GroupNorm(8, 32);
  randomize(conv, random.key(1));
  randomize(norm, random.key(2));
  using x = random.normal(shape);
  evaluateSync(x);
  const peakOf = (run: () => MxArray): number => {
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    evaluateSync(scope(run));
    return (memory.peakMemory() - before) / bytes;
  };
  assert.ok(native.fusible(x));
  const alone = peakOf(() => conv.forward(x, { norm }));
  assert.ok(alone < 1.1, `${alone} images`);
  const chained = peakOf(() => conv.forward(conv.forward(x), { norm, residual: add(x, 1) }));
  assert.ok(chained < 2.1, `${chained} images`);
});
