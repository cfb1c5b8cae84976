import assert from "node:assert/strict";
import * as mx from "../../src/index.js";
import { close, refuses, same } from "../support/assertions.js";
import { at, build, type Dense, fold, layouts, noise, toArray } from "../support/dense.js";

type Reduction = (a: mx.MxArray, o?: mx.ReduceOptions) => mx.MxArray;

const total = (values: number[]): number => values.reduce((a, b) => a + b, 0);
const average = (values: number[]): number => total(values) / values.length;
const spread = (values: number[], ddof = 0): number =>
  total(values.map((v) => (v - average(values)) ** 2)) / (values.length - ddof);
const indexOf = (values: number[], best: number): number => values.indexOf(best);

/**
 * Tests a reduction over all axes, single axes counted from both ends, and pairs, with and without `keepDims`, in every
 * layout.
 */
const reduction =
  (op: Reduction, fn: (values: number[]) => number, tolerance = 1e-6, d = noise([3, 4, 5], 20, -2, 2)) =>
  (): void => {
    for (const [layout, a] of layouts(d)) {
      close(op(a), fold(d, [0, 1, 2], false, fn), tolerance, layout);
      close(op(a, { keepDims: true }), fold(d, [0, 1, 2], true, fn), tolerance, layout);
      for (const axis of [0, 1, 2]) {
        close(op(a, { axis }), fold(d, [axis], false, fn), tolerance, `${layout} ${axis}`);
        close(op(a, { axis: axis - 3 }), fold(d, [axis], false, fn), tolerance, `${layout} ${axis - 3}`);
      }
      close(op(a, { axis: [0, 2], keepDims: true }), fold(d, [0, 2], true, fn), tolerance, layout);
      close(op(a, { axis: [-1, 1] }), fold(d, [1, 2], false, fn), tolerance, layout);
    }
    const row = noise([5], 21);
    close(
      op(mx.broadcastTo(toArray(row), [4, 5]), { axis: 0 }),
      build([5], ([i]) => fn(Array(4).fill(at(row, [i!])))),
      tolerance,
      "broadcast",
    );
    refuses(() => op(mx.ones([2, 3]), { axis: 2 }), op.name, "2", "[2,3]");
    refuses(() => op(mx.ones([2, 3]), { axis: [0, 0] }), op.name, "[2,3]");
  };

const search =
  (
    op: (a: mx.MxArray, o?: { axis?: number; keepDims?: boolean }) => mx.MxArray,
    best: (...values: number[]) => number,
  ) =>
  (): void => {
    const d = noise([3, 4, 5], 22);
    const fn = (values: number[]): number => indexOf(values, best(...values));
    for (const [layout, a] of layouts(d)) {
      assert.equal(op(a).dtype, "uint32");
      same(op(a), fn([...d.values]), layout);
      same(op(a, { axis: 1 }), fold(d, [1], false, fn), layout);
      same(op(a, { axis: -1, keepDims: true }), fold(d, [2], true, fn), layout);
    }
    same(op(mx.array([4, 4, 4])), 0, "the first of equals");
    refuses(() => op(mx.zeros([0])), op.name, "[0]");
  };

type Running = (a: mx.MxArray, o?: { axis?: number; reverse?: boolean; inclusive?: boolean }) => mx.MxArray;

const running = (op: Running, join: (a: number, b: number) => number, start: number) => (): void => {
  const d = noise([3, 4], 23, 0.5, 1.5);
  const along = (axis: number, reverse: boolean, inclusive: boolean): Dense =>
    build(d.shape, (index) => {
      let result = start;
      for (let i = 0; i < d.shape[axis]!; i++) {
        const before = reverse ? i > index[axis]! : i < index[axis]!;
        if (before || (inclusive && i === index[axis])) result = join(result, at(d, index.with(axis, i)));
      }
      return result;
    });
  for (const [layout, a] of layouts(d))
    for (const axis of [0, 1])
      for (const reverse of [false, true])
        for (const inclusive of [false, true])
          close(op(a, { axis: axis - 2, reverse, inclusive }), along(axis, reverse, inclusive), 1e-6, layout);
  let last = start;
  const flat = d.values.map((v) => {
    last = join(last, v);
    return last;
  });
  close(op(toArray(d)), flat);
};

const truth: Dense = { shape: [3, 4, 5], values: noise([60], 24, 0, 1).values.map((v) => Number(v > 0.25)) };

export const reductions: Record<string, () => void> = {
  sum() {
    reduction(mx.sum, total)();
    assert.equal(mx.sum(mx.ones([40000], "int32")).item(), 40000);
    same(
      mx.sum(mx.ones([2, 3]), { axis: [] }),
      [
        [1, 1, 1],
        [1, 1, 1],
      ],
      "no axes",
    );
    assert.equal(mx.sum(mx.zeros([0])).item(), 0);
  },
  mean: reduction(mx.mean, average),
  variance() {
    reduction(mx.variance, spread)();
    close(mx.variance(mx.array([1, 2, 4]), { ddof: 1 }), 7 / 3);
  },
  std() {
    reduction(mx.std, (values) => Math.sqrt(spread(values)))();
    close(mx.std(mx.array([[1, 2, 4]]), { ddof: 1, axis: 1 }), [Math.sqrt(7 / 3)]);
  },
  prod: reduction(mx.prod, (values) => values.reduce((a, b) => a * b, 1)),
  max: reduction(mx.max, (values) => Math.max(...values), 0),
  min: reduction(mx.min, (values) => Math.min(...values), 0),
  all() {
    reduction(mx.all, (values) => Number(values.every((v) => v !== 0)), 0, truth)();
    assert.equal(mx.all(mx.ones([2])).dtype, "bool");
  },
  any() {
    reduction(mx.any, (values) => Number(values.some((v) => v !== 0)), 0, truth)();
    assert.equal(mx.any(mx.ones([2])).dtype, "bool");
  },
  logsumexp() {
    reduction(mx.logsumexp, (values) => Math.log(total(values.map(Math.exp))))();
    close(mx.logsumexp(mx.array([1000, 1000])), 1000 + Math.log(2));
  },
  argmax: search(mx.argmax, Math.max),
  argmin: search(mx.argmin, Math.min),
  cumsum: running(mx.cumsum, (a, b) => a + b, 0),
  cumprod: running(mx.cumprod, (a, b) => a * b, 1),
  softmax() {
    const d = noise([3, 4, 5], 25, -4, 4);
    const over = (axes: number[]): Dense => {
      const sums = fold(d, axes, true, (values) => total(values.map(Math.exp)));
      return build(d.shape, (i) => Math.exp(at(d, i)) / at(sums, i));
    };
    for (const [layout, a] of layouts(d)) {
      close(mx.softmax(a), over([2]), 1e-6, layout);
      close(mx.softmax(a, { axis: 0 }), over([0]), 1e-6, layout);
      close(mx.softmax(a, { axis: [-2, -1] }), over([1, 2]), 1e-6, layout);
    }
    close(mx.softmax(mx.array([1000, 1000 + Math.log(3)])), [0.25, 0.75], 1e-4);
    const half = toArray(noise([64], 26), "bfloat16");
    close(mx.softmax(half, { precise: true }), over16(half), 4e-3);
  },
};

/** Softmax of the rounded values of a 16-bit array. */
function over16(a: mx.MxArray): Dense {
  const values = Array.from(mx.astype(a, "float32").toTypedArray() as Float32Array);
  const sum = total(values.map(Math.exp));
  return { shape: a.shape, values: values.map((v) => Math.exp(v) / sum) };
}
