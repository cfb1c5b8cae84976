import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  abs,
  array,
  astype,
  type Bits,
  concatenate,
  contiguous,
  dequantize,
  evaluateSync,
  type MxArray,
  multiply,
  ones,
  quantize,
  random,
  scope,
  slice,
  stack,
  sum,
  transpose,
  valueAndGrad,
} from "../src/index.js";
import { native } from "../src/load.js";

/*
 * The fused operations of the Linux CPU against the formulas in double precision. The whole file runs once for each
 * instruction set: by itself with the machine's best, which starts it again for the others.
 */

const linux = process.platform === "linux";
const options = linux ? {} : { skip: "the fused operations exist on Linux only" };
const sets =
  process.arch === "x64" ? ["avx512-pairs", "avx512", "avx2-vnni", "avx2", "generic"] : ["generic"];

const numbers = (a: MxArray): number[] => Array.from(a.toTypedArray() as Float32Array);

function near(actual: MxArray, expected: readonly number[], tolerance = 1e-6): void {
  const values = numbers(actual);
  assert.equal(values.length, expected.length);
  if (expected.length === 0) return;
  let difference = 0;
  let norm = 0;
  for (const [i, value] of values.entries()) {
    difference += (value - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  const error = Math.sqrt(difference / norm);
  assert.ok(error <= tolerance, `relative error ${error}`);
}

/** The error function by its series, to 1e-15. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const activations: Record<string, (x: number) => number> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  quickGelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  geluTanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

test("the instruction set that was asked for is in use", options, () => {
  const wished = process.env.MFLUX_DEPTH_ISA;
  if (wished) assert.equal(native.instructionSet(), wished);
  else assert.ok(sets.includes(native.instructionSet()));
});

/** MLX's own operation, which gradients go through. */
function quantizedByMlx(w: MxArray, o: { groupSize: number; bits: Bits }): MxArray[] {
  const { values } = valueAndGrad((a) => [sum(a), ...Object.values(quantize(a, o))])(w);
  return values.slice(1);
}

test("quantization equals MLX's to the bit", options, () => {
  const columns = 256;
  const row = (value: (i: number) => number): Float32Array =>
    Float32Array.from({ length: columns }, (_, i) => value(i));
  const [infinity, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
  const wave = (i: number): number => Math.sin(i * 12.9898) * 3;
  const edges = [
    row(() => 0),
    row((i) => (i % 2 ? -0 : 0)),
    row(() => 5),
    row(() => -5),
    row((i) => -1 - Math.abs(wave(i))),
    row((i) => 1 + Math.abs(wave(i))),
    row((i) => wave(i) * 1e-9),
    row((i) => wave(i) * 1e-30),
    row((i) => wave(i) * 1e4),
    row((i) => (i % 32 === 7 ? 1000 : wave(i))),
    row((i) => (i % 32 === 7 ? -1e-7 : 5e-8)),
    // Many lie in the middle of two integers.
    row((i) => (i % 32) / 2 - 7.5),
    row((i) => (i % 3) - 1),
    row((i) => (i % 128 === 40 ? infinity : wave(i))),
    row((i) => (i % 128 === 40 ? -infinity : wave(i))),
    row((i) => (i % 4 === 1 ? -infinity : i % 4 === 2 ? infinity : wave(i))),
    row(() => infinity),
    row(() => -infinity),
    row((i) => (i % 16 === 3 ? nan : wave(i))),
    row(() => nan),
  ];
  const edge = stack(edges.map((values) => array(values)));
  const normal = scope(() =>
    concatenate(
      [1, 0.02, 300].map((scale, i) => random.normal([500, columns], { key: random.key(i), scale })),
    ),
  );
  const bytesOf = (a: MxArray): Uint8Array => new Uint8Array(a.toTypedArray().buffer);
  // Of neighbours that do not lie together too.
  const turned = slice(transpose(normal), [null, [0, 1472]]);
  for (const [kind, values] of Object.entries({ edge, normal, turned }))
    for (const dtype of ["float32", "bfloat16", "float16"] as const)
      for (const groupSize of kind === "turned" ? [32] : [32, 64, 128])
        for (const bits of [2, 3, 4, 5, 6, 8] as const)
          scope(() => {
            const w = astype(values, dtype);
            const found = Object.values(quantize(w, { groupSize, bits })) as MxArray[];
            for (const [i, wanted] of quantizedByMlx(w, { groupSize, bits }).entries()) {
              const name = `${kind}, ${dtype}, ${bits} bits, groups of ${groupSize}, ${["integers", "scales", "biases"][i]}`;
              assert.deepEqual([found[i]!.dtype, found[i]!.shape], [wanted.dtype, wanted.shape], name);
              assert.deepEqual(bytesOf(found[i]!), bytesOf(wanted), name);
            }
          });
});

test("activations", options, () => {
  for (const [kind, formula] of Object.entries(activations))
    for (const size of [1, 7, 16, 33, 70_001]) {
      const x = random.normal([size], { key: random.key(size), scale: 3 });
      near(native.fusedActivation(x, kind), numbers(x).map(formula));
    }
});

test("activations carry NaN and infinity, and go to their limits far out", options, () => {
  const x = array([Number.NaN, Number.POSITIVE_INFINITY, 200, -200, 0]);
  for (const kind of Object.keys(activations)) {
    const [nan, infinite, large, small, zero] = numbers(native.fusedActivation(x, kind));
    assert.ok(Number.isNaN(nan!), `${kind}(NaN)`);
    assert.equal(infinite, Number.POSITIVE_INFINITY, `${kind}(inf)`);
    assert.equal(large, 200);
    assert.ok(Math.abs(small!) < 1e-30, `${kind}(-200) is ${small}`);
    assert.equal(zero, 0);
  }
});

test("inputs that are not contiguous, and none at all", options, () => {
  const x = random.normal([6, 10], { key: random.key(1) });
  for (const view of [
    transpose(x),
    slice(x, [
      [1, 5],
      [0, null, 3],
    ]),
  ])
    near(native.fusedActivation(view, "silu"), numbers(view).map(activations.silu!));
  assert.deepEqual(numbers(native.fusedActivation(array([], { shape: [0] }), "silu")), []);
});

test("adaptive norm: norm(x) (1 + scale) + shift", options, () => {
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

test("adaptive norm: the eps shows where the input is small", options, () => {
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

test("norm(x) weight + bias, over whatever axes come before", options, () => {
  for (const shape of [[5], [3, 16], [2, 3, 100], [0, 16]]) {
    const dims = shape.at(-1)!;
    const x = random.normal(shape, { key: random.key(dims), loc: 2, scale: 0.5 });
    // Weights far from 1, which "1 + scale" would round.
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
  const row = array([1, Number.NaN, 3, 1, 2, 3], { shape: [2, 3] });
  const [first, second, , fourth] = numbers(
    native.fusedLayerNorm(row, array([1, 1, 1]), array([0, 0, 0]), 0),
  );
  assert.ok(Number.isNaN(first!) && Number.isNaN(second!) && !Number.isNaN(fourth!));
});

test("x + gate y", options, () => {
  const [batch, tokens, dims] = [2, 21, 77];
  const x = random.normal([batch, tokens, dims], { key: random.key(1) });
  const y = random.normal([batch, tokens, dims], { key: random.key(2) });
  const gate = random.normal([batch, 1, dims], { key: random.key(3) });
  const [xs, ys, gates] = [numbers(x), numbers(y), numbers(gate)];
  near(
    native.fusedGatedAdd(x, gate, y),
    xs.map((v, at) => v + gates[Math.floor(at / (tokens * dims)) * dims + (at % dims)]! * ys[at]!),
  );
});

test("heads, their norm and rotation", options, () => {
  for (const [batch, tokens, heads, dims, offset] of [
    [1, 1, 1, 2, 0],
    [2, 5, 3, 12, 4],
    [1, 33, 4, 128, 7],
  ] as const) {
    const x = random.normal([batch, tokens, heads * dims], { key: random.key(dims) });
    const weight = random.normal([dims], { key: random.key(5) });
    const angles = random.uniform([tokens + offset, dims / 2], { key: random.key(6), high: 6 });
    const turns = numbers(angles);
    const table = (f: (v: number) => number): MxArray =>
      array(Float32Array.from(turns, f), { shape: angles.shape });
    const [cos, sin] = [table(Math.cos), table(Math.sin)];
    const [xs, weights] = [numbers(x), numbers(weight)];
    const expected: number[] = [];
    for (let b = 0; b < batch; b++)
      for (let head = 0; head < heads; head++)
        for (let token = 0; token < tokens; token++) {
          const at = (b * tokens + token) * heads * dims + head * dims;
          const v = xs.slice(at, at + dims);
          const rms = Math.sqrt(v.reduce((a, e) => a + e * e, 0) / dims + 1e-6);
          const n = v.map((e, i) => (e / rms) * weights[i]!);
          for (let pair = 0; pair < dims / 2; pair++) {
            const angle = turns[((offset + token) * dims) / 2 + pair]!;
            expected.push(n[2 * pair]! * Math.cos(angle) - n[2 * pair + 1]! * Math.sin(angle));
            expected.push(n[2 * pair + 1]! * Math.cos(angle) + n[2 * pair]! * Math.sin(angle));
          }
        }
    near(native.fusedNormRotate(x, weight, cos, sin, heads, offset, 1e-6), expected);
  }
});

test("group norm, with SiLU and without", options, () => {
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
    for (let picture = 0; picture < n; picture++)
      for (let group = 0; group < groups; group++) {
        const members: number[] = [];
        for (let p = 0; p < positions; p++)
          for (let c = 0; c < size; c++)
            members.push((picture * positions + p) * channels + group * size + c);
        const mean = members.reduce((a, at) => a + xs[at]!, 0) / members.length;
        const variance = members.reduce((a, at) => a + (xs[at]! - mean) ** 2, 0) / members.length;
        for (const at of members)
          plain[at] =
            ((xs[at]! - mean) / Math.sqrt(variance + 1e-6)) * weights[at % channels]! +
            biases[at % channels]!;
      }
    near(native.fusedGroupNorm(x, weight, bias, groups, 1e-6, false), plain, 2e-6);
    near(native.fusedGroupNorm(x, weight, bias, groups, 1e-6, true), plain.map(activations.silu!), 2e-6);
  }
});

/** softmax(0.3 q kᵀ + mask(batch, head, query, key)) v, `[batch, queries, heads · dims]`. */
function attended(
  [q, k, v]: readonly [MxArray, MxArray, MxArray],
  mask: (batch: number, head: number, query: number, key: number) => number = () => 0,
): number[] {
  const [batch, heads, queries, dims] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  const [qs, ks, vs] = [numbers(q), numbers(k), numbers(v)];
  const expected = new Array<number>(batch * queries * heads * dims);
  for (let b = 0; b < batch; b++)
    for (let head = 0; head < heads; head++)
      for (let query = 0; query < queries; query++) {
        const of = (values: number[], at: number): number[] => values.slice(at * dims, (at + 1) * dims);
        const scores = Array.from({ length: keys }, (_, key) => {
          const [left, right] = [
            of(qs, (b * heads + head) * queries + query),
            of(ks, (b * heads + head) * keys + key),
          ];
          return 0.3 * left.reduce((a, e, i) => a + e * right[i]!, 0) + mask(b, head, query, key);
        });
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const sum = weights.reduce((a, e) => a + e);
        for (let i = 0; i < dims; i++)
          expected[((b * queries + query) * heads + head) * dims + i] =
            weights.reduce(
              (a, weight, key) => a + weight * vs[((b * heads + head) * keys + key) * dims + i]!,
              0,
            ) / sum;
      }
  return expected;
}

/**
 * Random q, k and v; sizes that fill no panel of queries (48, 24 or 16 by instruction set) or block of keys (96), fill
 * them exactly and exceed them by one, head sizes around a tile's rows (8 or fewer), and, with many heads, several
 * panels in one task.
 */
const attentionOperands = (
  [
    [1, 1, 1, 1, 1],
    [2, 3, 5, 9, 8],
    [1, 1, 48, 96, 7],
    [1, 2, 49, 97, 13],
    [1, 1, 47, 95, 130],
    [1, 16, 100, 193, 16],
    [1, 2, 131, 1029, 20],
  ] as const
).map(([batch, heads, queries, keys, dims]) => {
  // Scores of a deviation of 2.
  const scale = Math.sqrt(2 / 0.3 / Math.sqrt(dims));
  const tokens = (count: number, seed: number, scale = 1): MxArray =>
    random.normal([batch, heads, count, dims], { key: random.key(seed), scale });
  return [tokens(queries, 1, scale), tokens(keys, 2, scale), tokens(keys, 3)] as const;
});

test("attention by blocks", options, () => {
  for (const operands of attentionOperands)
    near(native.fusedAttention(...operands, 0.3, null, false), attended(operands));
});

test("attention with a scale below zero, and none", options, () => {
  const [q, k, v] = attentionOperands[3]!;
  near(native.fusedAttention(q, k, v, -0.3, null, false), attended([multiply(q, -1), k, v]));
  near(native.fusedAttention(q, k, v, 0, null, false), attended([multiply(q, 0), k, v]));
});

test("attention with a mask that is added, however it is broadcast and laid out", options, () => {
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
      // Laid out with the heads last, as relative positions come.
      const reversed = random.normal([...shape].reverse(), { key: random.key(4) });
      const mask = transpose(reversed);
      const values = numbers(mask);
      const expected = attended(operands, (...at) => {
        const flat = at.reduce((sum, index, axis) => sum * shape[axis]! + (shape[axis] === 1 ? 0 : index), 0);
        return values[flat]!;
      });
      near(native.fusedAttention(...operands, 0.3, mask, false), expected);
    }
  }
});

test("attention that sees no later key", options, () => {
  for (const operands of attentionOperands) {
    const [queries, keys] = [operands[0].shape[2]!, operands[1].shape[2]!];
    const expected = attended(operands, (_batch, _head, query, key) =>
      key <= query + keys - queries ? 0 : Number.NEGATIVE_INFINITY,
    );
    near(native.fusedAttention(...operands, 0.3, null, true), expected);
  }
  const [q, k, v] = attentionOperands[1]!;
  assert.throws(
    () => native.fusedAttention(k, q, q, 0.3, null, true),
    /fusedAttention: .*a key for each query/,
  );
  assert.throws(
    () => native.fusedAttention(q, k, v, 0.3, random.normal([1, 2, 5, 9]), false),
    /takes a mask/,
  );
});

test("attention: minus infinity hides a key, and a row without any is not a number", options, () => {
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

test(
  "attention: keys hidden in whole blocks, and rows hidden as a whole by the lowest number",
  options,
  () => {
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
  },
);

const rounded = (a: MxArray): MxArray => astype(astype(a, "bfloat16"), "float32");

test("attention of bfloat16 values: within the rounding of the weights", options, () => {
  if (!native.multipliesBfloat16()) {
    const [q, k, v] = attentionOperands[1]!;
    assert.throws(() => native.fusedBfloat16Attention(q, k, v, 0.3), /takes a processor .*AVX512-BF16/);
    return;
  }
  for (const operands of attentionOperands) {
    const [q, k, v] = operands.map(rounded) as [MxArray, MxArray, MxArray];
    const expected = attended([q, k, v]);
    const magnitudes = attended([q, k, abs(v)]);
    const values = numbers(native.fusedBfloat16Attention(...operands, 0.3));
    assert.equal(values.length, expected.length);
    // Each weight is rounded by 2^-8 of itself at most; what is added up in float32 stays below 1e-5.
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

test("attention of bfloat16 values carries NaN and infinity", options, () => {
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

test("attention carries NaN, and large scores do not overflow", options, () => {
  const ones = array(new Float32Array(32).fill(100), { shape: [1, 1, 4, 8] });
  near(native.fusedAttention(ones, ones, ones, 1, null, false), new Array(32).fill(100));
  const nan = array(
    Float32Array.from({ length: 32 }, (_, i) => (i === 9 ? Number.NaN : 1)),
    { shape: [1, 1, 4, 8] },
  );
  assert.ok(numbers(native.fusedAttention(ones, nan, ones, 1, null, false)).every(Number.isNaN));
});

test("convolution by bands", options, () => {
  for (const [batch, height, width, channels, features, kernel, stride, before, after] of [
    [1, 1, 1, 1, 1, 1, 1, 0, 0],
    [2, 5, 7, 3, 4, 3, 1, 1, 1],
    // Several bands, and a border on two sides alone.
    [1, 23, 131, 2, 5, 3, 1, 2, 0],
    [1, 12, 139, 3, 2, 3, 2, 0, 1],
    [1, 9, 9, 4, 3, 4, 4, 0, 0],
  ] as const) {
    const x = random.normal([batch, height, width, channels], { key: random.key(1) });
    const weight = random.normal([features, kernel, kernel, channels], { key: random.key(2) });
    const bias = random.normal([features], { key: random.key(3) });
    const [xs, ws, bs] = [numbers(x), numbers(weight), numbers(bias)];
    const rows = Math.floor((height + before + after - kernel) / stride) + 1;
    const columns = Math.floor((width + before + after - kernel) / stride) + 1;
    const expected: number[] = [];
    for (let b = 0; b < batch; b++)
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++)
          for (let f = 0; f < features; f++) {
            let sum = bs[f]!;
            for (let ky = 0; ky < kernel; ky++)
              for (let kx = 0; kx < kernel; kx++) {
                const [y, z] = [row * stride + ky - before, column * stride + kx - before];
                if (y < 0 || y >= height || z < 0 || z >= width) continue;
                for (let c = 0; c < channels; c++)
                  sum +=
                    xs[((b * height + y) * width + z) * channels + c]! *
                    ws[((f * kernel + ky) * kernel + kx) * channels + c]!;
              }
            expected.push(sum);
          }
    near(native.fusedConvolution(x, weight, bias, null, null, stride, before, after, 1), expected);
    near(
      native.fusedConvolution(x, weight, null, null, null, stride, before, after, 1),
      expected.map((v, at) => v - bs[at % features]!),
    );
  }
});

test("quantized Linear at every bit width, with bias and without", options, () => {
  for (const bits of [2, 3, 4, 5, 6, 8] as const)
    for (const [rows, inputs, features, groupSize] of [
      [1, 64, 1, 64],
      [5, 640, 300, 64],
      [3, 1088, 257, 32],
    ] as const) {
      const x = random.normal([rows, inputs], { key: random.key(rows) });
      const matrix = quantize(random.normal([features, inputs], { key: random.key(bits) }), {
        bits,
        groupSize,
      });
      const bias = random.normal([features], { key: random.key(7) });
      // Unpacked here, from the lowest bit on; not by MLX's own dequantize.
      const packed = matrix.weight.toTypedArray() as Uint32Array;
      const [scales, biases] = [numbers(matrix.scales), numbers(matrix.biases)];
      const words = packed.length / features;
      const weight = (feature: number, input: number): number => {
        let value = 0;
        for (let bit = 0; bit < bits; bit++) {
          const at = input * bits + bit;
          value |= ((packed[feature * words + (at >> 5)]! >>> (at & 31)) & 1) << bit;
        }
        const group = (feature * inputs) / groupSize + Math.floor(input / groupSize);
        return value * scales[group]! + biases[group]!;
      };
      const xs = numbers(x);
      const biasOf = numbers(bias);
      const product = Array.from({ length: rows * features }, (_, at) => {
        let sum = 0;
        for (let i = 0; i < inputs; i++)
          sum += xs[Math.floor(at / features) * inputs + i]! * weight(at % features, i);
        return sum;
      });
      const args = [x, matrix.weight, matrix.scales, matrix.biases] as const;
      near(native.fusedQuantizedLinear(...args, null, groupSize, bits, null), product);
      near(
        native.fusedQuantizedLinear(...args, bias, groupSize, bits, null),
        product.map((v, at) => v + biasOf[at % features]!),
      );
    }
});

/** As `fusedQuantizedLinear`, with integers. */
function integerLinear(
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
  return native.fusedIntegerLinear(
    rounded,
    [...x.shape],
    w,
    scales,
    biases,
    bias,
    groupSize,
    bits,
    activation,
  );
}

/** The largest integer that inputs are rounded to beside weights of `bits`, which the instructions decide. */
const mostOfInputs = (bits: number): number =>
  native.fusedRoundInputs([ones([1, 64])], 64, bits).toTypedArray()[0] as number;

test("integer Linear: equal to the product of the rounded input, within the bound of the rounding", {
  skip: linux && native.multipliesIntegers(4) ? false : "needs AVX2 or AVX-512 VNNI",
}, () => {
  for (const bits of ([2, 3, 4, 5, 6, 8] as const).filter((bits) => native.multipliesIntegers(bits)))
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
      // The input as 8 bits can say it, in double precision.
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
      // Half a step of the integers that stand for sums of inputs and for biases of weights.
      const groups = inputs / groupSize;
      const most = Math.min(32767, Math.floor(Math.sqrt(2 ** 31 / groups) - 1));
      const ofWeights = numbers(matrix.biases);
      const bound = Array.from({ length: rows * features }, (_, at) => {
        const [row, feature] = [Math.floor(at / features), at % features];
        const biasesOf = ofWeights.slice(feature * groups, (feature + 1) * groups).map(Math.abs);
        const sums = biasesOf.map((_, g) => {
          const start = row * inputs + g * groupSize;
          return Math.abs(rounded.slice(start, start + groupSize).reduce((sum, v) => sum + v, 0));
        });
        const [halfSum, halfBias] = [Math.max(...sums) / most / 2, Math.max(...biasesOf) / most / 2];
        return sums.reduce(
          (sum, v, g) => sum + v * halfBias + biasesOf[g]! * halfSum + halfSum * halfBias,
          0,
        );
      });
      const share = rows > 0 ? Math.hypot(...bound) / Math.hypot(...expected) : 0;
      // A value in the middle between two integers may fall to either.
      near(integerLinear(...args, bias, groupSize, bits, null), expected, 2e-4 + share);
      // Three times what rounding errors that are spread evenly over a step add up to.
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
  const nan = array(
    Float32Array.from({ length: 64 }, (_, i) => (i === 9 ? Number.NaN : 1)),
    { shape: [1, 64] },
  );
  const some = quantize(random.normal([40, 64], { key: random.key(1) }), { bits: 4 });
  const product = integerLinear(nan, some.weight, some.scales, some.biases, null, 64, 4, null);
  assert.ok(numbers(product).every(Number.isNaN));
});

test("integer Linear: the largest integers of every kind fit", {
  skip: linux && native.multipliesIntegers(4) ? false : "needs AVX2 or AVX-512 VNNI",
}, () => {
  const [inputs, group] = [128, 64];
  for (const bits of ([2, 3, 4, 5, 6, 8] as const).filter((bits) => native.multipliesIntegers(bits))) {
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

test("integer Linear: more rows than are multiplied at a time", {
  skip: linux && native.multipliesIntegers(4) ? false : "needs AVX2 or AVX-512 VNNI",
}, () => {
  const x = random.normal([1600, 64], { key: random.key(1) });
  const { weight, scales, biases } = quantize(random.normal([33, 64], { key: random.key(2) }), { bits: 4 });
  const rowsOf = (from: number, to: number): number[] =>
    numbers(integerLinear(slice(x, [[from, to]]), weight, scales, biases, null, 64, 4, null));
  assert.deepEqual(rowsOf(0, 1600), [...rowsOf(0, 700), ...rowsOf(700, 1600)]);
});

test("integer Linear: what is not finite stays in its row, or its feature", {
  skip: linux && native.multipliesIntegers(4) ? false : "needs AVX2 or AVX-512 VNNI",
}, () => {
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

test("integer Linear: parts of inputs are rounded as the whole", {
  skip: linux && native.multipliesIntegers(4) ? false : "needs AVX2 or AVX-512 VNNI",
}, () => {
  const part = (width: number): MxArray => random.normal([2, 7, width], { key: random.key(width) });
  // The last ones do not lie in order.
  const parts = [
    part(192),
    slice(part(128), [null, null, [0, 128, 2]]),
    transpose(random.normal([2, 1088, 7], { key: random.key(9) }), [0, 2, 1]),
  ];
  const whole = concatenate(parts, -1);
  const { weight, scales, biases } = quantize(random.normal([33, 1344], { key: random.key(2) }), { bits: 4 });
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
    assert.throws(bad, /takes (parts of one shape|inputs rounded for it)/);
});

test("integer Linear: rows of values near the smallest there are give finite sums, as they were or none", {
  skip: linux && native.multipliesIntegers(4) ? false : "needs AVX2 or AVX-512 VNNI",
}, () => {
  const { weight, scales, biases } = quantize(random.normal([33, 64], { key: random.key(2) }), { bits: 4 });
  for (const size of [1e-28, 1e-31, 1e-33, 1e-36, 1e-40, 0]) {
    const x = array(new Float32Array(64).fill(size), { shape: [1, 64] });
    const exact = numbers(native.fusedQuantizedLinear(x, weight, scales, biases, null, 64, 4, null));
    const product = integerLinear(x, weight, scales, biases, null, 64, 4, null);
    if (size > 1e-31) near(product, exact, 1.5e-2);
    for (const v of numbers(product)) assert.ok(Math.abs(v) <= 64 * 4 * size, `${v} for ${size}`);
  }
});

test("arrays are joined along each axis, views as they lie", options, () => {
  const part = (shape: number[], seed: number): MxArray => random.normal(shape, { key: random.key(seed) });
  const turned = transpose(part([5, 4, 300, 3], 1), [3, 1, 0, 2]);
  const strided = slice(part([3, 4, 5, 600], 2), [null, null, null, [0, 600, 2]]);
  for (const axis of [0, 1, 2, 3, -1]) {
    const other = [3, 4, 5, 300];
    other[axis < 0 ? axis + 4 : axis] = 2;
    const empty = other.map((n) => (n === 2 ? 0 : n));
    const parts = [turned, part(other, 3), strided, part(empty, 4)];
    const joined = native.fusedJoin(parts, axis);
    assert.deepEqual(joined.shape, concatenate(parts, axis).shape);
    assert.deepEqual(numbers(joined), numbers(concatenate(parts, axis)));
  }
  assert.throws(() => native.fusedJoin([turned, part([3, 4, 5, 7], 5)], 0), /one shape but for the axis/);
  assert.throws(() => native.fusedJoin([turned], 4), /an axis that the arrays have/);
  assert.throws(() => native.fusedJoin([turned, part([3], 6)], 0), /as many axes/);
});

test("what a fused operation takes may be a view", options, () => {
  const x = random.normal([7, 300, 9], { key: random.key(1) });
  for (const view of [transpose(x, [2, 0, 1]), slice(x, [[0, 7, 3], null, [1, 9]])])
    near(native.fusedActivation(view, "silu"), numbers(native.fusedActivation(contiguous(view), "silu")), 0);
});

test("Linear layers apply an activation to what they give", options, () => {
  const x = random.normal([5, 128], { key: random.key(1) });
  const w = random.normal([300, 128], { key: random.key(2) });
  const bias = random.normal([300], { key: random.key(3) });
  const half = astype(w, "bfloat16");
  const matrix = quantize(w, { bits: 4 });
  const quantized = [x, matrix.weight, matrix.scales, matrix.biases, bias, 64, 4] as const;
  const layers = [
    (activation: string | null) => native.fusedLinear(x, half, bias, activation),
    (activation: string | null) => native.fusedQuantizedLinear(...quantized, activation),
    ...(native.multipliesIntegers(4)
      ? [(activation: string | null) => integerLinear(...quantized, activation)]
      : []),
  ];
  for (const layer of layers)
    for (const kind of ["silu", "gelu", "geluTanh", "quickGelu"])
      near(layer(kind), numbers(native.fusedActivation(layer(null), kind)), 1e-7);
  assert.throws(() => layers[0]!("swish"), /unknown activation "swish"/);
});

const halves = ["bfloat16", "float16"] as const;

test("scales and biases of 16 bits give what their float32 values give, bit for bit", options, () => {
  for (const dtype of halves)
    for (const bits of [3, 4, 8] as const) {
      const x = random.normal([5, 640], { key: random.key(1) });
      const held = quantize(astype(random.normal([70, 640], { key: random.key(2) }), dtype), { bits });
      assert.equal(held.scales.dtype, dtype);
      const wide = { scales: astype(held.scales, "float32"), biases: astype(held.biases, "float32") };
      const kinds: (typeof integerLinear)[] = [native.fusedQuantizedLinear];
      if (native.multipliesIntegers(bits)) kinds.push(integerLinear);
      for (const product of kinds)
        assert.deepEqual(
          numbers(product(x, held.weight, held.scales, held.biases, null, 64, bits, null)),
          numbers(product(x, held.weight, wide.scales, wide.biases, null, 64, bits, null)),
        );
    }
});

test("Linear with a matrix of 16 bits, with bias and without", options, () => {
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
      // Neither need lie in order.
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

test("every value of 16 bits is widened to itself", options, () => {
  // One row a value: the identity times the column of all of them.
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

/** One bit pattern for all that is not a number, and for both zeros, whose sign a sum loses. */
function withoutPayload(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  return magnitude > 0x7f800000 ? 0x7fc00000 : magnitude === 0 ? 0 : bits;
}

test("nothing but float32 on the CPU outside of a gradient is fusible", options, () => {
  scope(() => {
    assert.equal(native.fusible(array([1])), true);
    assert.equal(native.fusible(array([1], { dtype: "bfloat16" })), false);
    let traced = true;
    native.valueAndGrad(
      ([x]) => {
        traced = native.fusible(x!);
        return [x!];
      },
      [0],
      [array(1)],
    );
    assert.equal(traced, false);
  });
});

test("operands that do not fit are refused by name", options, () => {
  const x = random.normal([1, 4, 6]);
  const wrong = random.normal([1, 1, 5]);
  assert.throws(
    () => native.fusedGatedAdd(x, wrong, x),
    /fusedGatedAdd: .*\[batch, 1, dims\].*float32 \[1,1,5\]/,
  );
  assert.throws(() => native.fusedActivation(x, "relu6"), /unknown activation "relu6"/);
});

test("the inputs of a fused operation stay as they are while something else needs them", options, () => {
  const x = random.normal([4096], { key: random.key(3) });
  evaluateSync(x);
  const before = numbers(x);
  const twice = native.add(native.fusedActivation(x, "silu"), native.fusedActivation(x, "gelu"));
  near(
    twice,
    before.map((v) => activations.silu!(v) + activations.gelu!(v)),
  );
  assert.deepEqual(numbers(x), before);
});

test("an instruction set that there is none of is an error", options, () => {
  const load = `import { native } from ${JSON.stringify(new URL("../src/load.js", import.meta.url).href)};`;
  const { stderr, status } = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", `${load} native.instructionSet();`],
    { env: { ...process.env, MFLUX_DEPTH_ISA: "avx1024" }, encoding: "utf8" },
  );
  assert.equal(status, 1);
  assert.match(stderr, /MFLUX_DEPTH_ISA is "avx1024"; leave it out, or name one of .*generic/);
});

if (linux && !process.env.MFLUX_DEPTH_ISA)
  for (const set of sets.filter((name) => name !== native.instructionSet()))
    test(`all of it with ${set}`, () => {
      const { NODE_TEST_CONTEXT: _, ...env } = process.env;
      const run = spawnSync(process.execPath, ["--test", fileURLToPath(import.meta.url)], {
        env: { ...env, MFLUX_DEPTH_ISA: set },
        encoding: "utf8",
      });
      // A machine without the set falls back, and its first test says so.
      if (run.stdout.includes("the instruction set that was asked for") && /not ok 1 /.test(run.stdout)) {
        assert.equal(set.startsWith("avx"), true);
        return;
      }
      assert.equal(run.status, 0, run.stdout);
    });
