import assert from "node:assert/strict";
import * as mx from "../../src/index.js";
import { close, refuses, same } from "../support/assertions.js";
import { at, build, type Dense, layouts, noise, toArray } from "../support/dense.js";

/** erf by its Taylor series, accurate to 1e-12 for |x| < 3. */
export function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 100; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** The inverse of erf by Newton's method. */
function inverseErf(y: number): number {
  let x = 0;
  for (let i = 0; i < 60; i++) x -= (erf(x) - y) / ((2 / Math.sqrt(Math.PI)) * Math.exp(-x * x));
  return x;
}

function halfToEven(x: number): number {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

const map = (d: Dense, fn: (x: number) => number): Dense => ({ shape: d.shape, values: d.values.map(fn) });

const broadcast = (a: Dense, b: Dense, fn: (x: number, y: number) => number): Dense => {
  const ndim = Math.max(a.shape.length, b.shape.length);
  const size = (d: Dense, axis: number): number => d.shape[axis - (ndim - d.shape.length)] ?? 1;
  const shape = Array.from({ length: ndim }, (_, axis) => Math.max(size(a, axis), size(b, axis)));
  return build(shape, (index) => fn(at(a, index), at(b, index)));
};

type Unary = (a: mx.MxArray) => mx.MxArray;
type Binary = (a: mx.Operand, b: mx.Operand) => mx.MxArray;

/** Compares an operation with a function of doubles, for values in `[low, high)` in every memory layout. */
const unary =
  (op: Unary, fn: (x: number) => number, low = -3, high = 3, tolerance = 1e-6) =>
  (): void => {
    const d = noise([3, 4, 5], 1, low, high);
    for (const [layout, a] of layouts(d)) close(op(a), map(d, fn), tolerance, layout);
    close(
      op(mx.broadcastTo(toArray(noise([4, 1], 2, low, high)), [2, 4, 3])),
      {
        shape: [2, 4, 3],
        values: build([2, 4, 3], (i) => fn(at(noise([4, 1], 2, low, high), i))).values,
      },
      tolerance,
      "broadcast",
    );
    close(op(toArray({ shape: [], values: [d.values[0]!] })), fn(d.values[0]!), tolerance, "scalar");
    same(op(mx.zeros([0, 3])), { shape: [0, 3], values: [] }, "empty");
  };

/** The same for two operands: layouts, broadcasting in both directions, a number on either side. */
const binary =
  (op: Binary, fn: (x: number, y: number) => number, low = -3, high = 3, tolerance = 1e-6) =>
  (): void => {
    const a = noise([3, 4, 5], 3, low, high);
    const b = noise([3, 4, 5], 4, low, high);
    const expected = broadcast(a, b, fn);
    for (const [first, x] of layouts(a))
      for (const [second, y] of layouts(b)) close(op(x, y), expected, tolerance, `${first}, ${second}`);
    const column = noise([4, 1], 5, low, high);
    const row = noise([5], 6, low, high);
    close(op(toArray(a), toArray(row)), broadcast(a, row, fn), tolerance, "row");
    close(op(toArray(column), toArray(a)), broadcast(column, a, fn), tolerance, "column");
    close(op(toArray(column), toArray(row)), broadcast(column, row, fn), tolerance, "column, row");
    const number = Math.fround((low + 2 * high) / 3);
    close(
      op(toArray(a), number),
      map(a, (x) => fn(x, number)),
      tolerance,
      "number after",
    );
    close(
      op(number, toArray(a)),
      map(a, (x) => fn(number, x)),
      tolerance,
      "number before",
    );
    refuses(() => op(mx.ones([3, 2]), mx.ones([4, 2])), op.name, "[3,2]", "[4,2]");
  };

const flag = (fn: (x: number, y: number) => boolean) => (x: number, y: number) => Number(fn(x, y));

/** Tests a comparison on all pairs of some values, including equal ones; the result is bool. */
const comparison = (op: Binary, fn: (x: number, y: number) => boolean) => (): void => {
  const column: Dense = { shape: [5, 1], values: [-1, 0, 1, 2, Number.NaN] };
  const row: Dense = { shape: [5], values: [2, 1, 0, -1, Number.NaN] };
  for (const [layout, x] of layouts(column)) {
    const result = op(x, toArray(row));
    assert.equal(result.dtype, "bool");
    same(result, broadcast(column, row, flag(fn)), layout);
  }
  same(
    op(1, toArray(row)),
    map(row, (y) => Number(fn(1, y))),
    "number before",
  );
  same(
    op(toArray(row), 1),
    map(row, (y) => Number(fn(y, 1))),
    "number after",
  );
};

const bits =
  (op: Binary, fn: (x: number, y: number) => number, high = 64) =>
  (): void => {
    const a = map(noise([3, 4], 7, 0, high), Math.floor);
    const b = map(noise([3, 4], 8, 0, 8), Math.floor);
    for (const dtype of ["int32", "uint16"] as const)
      for (const [layout, x] of layouts(a, dtype)) {
        const result = op(x, toArray(b, dtype));
        assert.equal(result.dtype, dtype);
        same(result, broadcast(a, b, fn), layout);
      }
    same(
      op(toArray(a, "int32"), 3),
      map(a, (x) => fn(x, 3)),
      "number",
    );
  };

const special: Dense = { shape: [5], values: [Number.NaN, Infinity, -Infinity, 0, 1.5] };

export const elementwise: Record<string, () => void> = {
  abs: unary(mx.abs, Math.abs, -3, 3, 0),
  negative: unary(mx.negative, (x) => -x, -3, 3, 0),
  sign: unary(mx.sign, Math.sign, -3, 3, 0),
  reciprocal: unary(mx.reciprocal, (x) => 1 / x, 0.3, 3),
  square: unary(mx.square, (x) => x * x),
  sqrt: unary(mx.sqrt, Math.sqrt, 0, 9),
  rsqrt: unary(mx.rsqrt, (x) => 1 / Math.sqrt(x), 0.1, 9),
  exp: unary(mx.exp, Math.exp, -8, 8),
  expm1: unary(mx.expm1, Math.expm1, -1, 2),
  log: unary(mx.log, Math.log, 0.1, 9),
  log2: unary(mx.log2, Math.log2, 0.1, 9),
  log10: unary(mx.log10, Math.log10, 0.1, 9),
  log1p: unary(mx.log1p, Math.log1p, -0.5, 2),
  sin: unary(mx.sin, Math.sin, -50, 50),
  cos: unary(mx.cos, Math.cos, -50, 50),
  tan: unary(mx.tan, Math.tan, -1.2, 1.2),
  arcsin: unary(mx.arcsin, Math.asin, -0.99, 0.99),
  arccos: unary(mx.arccos, Math.acos, -0.99, 0.99),
  arctan: unary(mx.arctan, Math.atan),
  sinh: unary(mx.sinh, Math.sinh),
  cosh: unary(mx.cosh, Math.cosh),
  tanh: unary(mx.tanh, Math.tanh),
  arcsinh: unary(mx.arcsinh, Math.asinh),
  arccosh: unary(mx.arccosh, Math.acosh, 1.1, 5),
  arctanh: unary(mx.arctanh, Math.atanh, -0.95, 0.95),
  sigmoid: unary(mx.sigmoid, (x) => 1 / (1 + Math.exp(-x)), -10, 10),
  erf: unary(mx.erf, erf, -2.5, 2.5),
  erfinv: unary(mx.erfinv, inverseErf, -0.95, 0.95, 1e-5),
  floor: unary(mx.floor, Math.floor, -3, 3, 0),
  ceil: unary(mx.ceil, Math.ceil, -3, 3, 0),
  round() {
    unary(mx.round, halfToEven, -9, 9, 0)();
    same(mx.round(mx.array([0.5, 1.5, 2.5, -0.5, -1.5])), [0, 2, 2, 0, -2]);
    close(mx.round(mx.array([1.2345, -1.236]), 2), [1.23, -1.24]);
    close(mx.round(mx.array([1234, 1251]), -2), [1200, 1300]);
  },
  logicalNot() {
    for (const [layout, a] of layouts({ shape: [2, 2], values: [0, 1, 2, 0] })) {
      assert.equal(mx.logicalNot(a).dtype, "bool");
      same(
        mx.logicalNot(a),
        [
          [1, 0],
          [0, 1],
        ],
        layout,
      );
    }
  },
  isnan: () => same(mx.isnan(toArray(special)), [1, 0, 0, 0, 0]),
  isinf: () => same(mx.isinf(toArray(special)), [0, 1, 1, 0, 0]),
  isfinite: () => same(mx.isfinite(toArray(special)), [0, 0, 0, 1, 1]),
  stopGradient() {
    const x = mx.array([2, 3]);
    const [slope] = mx.grad((a) => mx.sum(mx.multiply(a, mx.stopGradient(a))))(x);
    same(mx.stopGradient(x), [2, 3]);
    same(slope!, [2, 3]);
  },

  add: binary(mx.add, (x, y) => x + y),
  subtract: binary(mx.subtract, (x, y) => x - y),
  multiply: binary(mx.multiply, (x, y) => x * y),
  divide: binary(mx.divide, (x, y) => x / y, 0.3, 3),
  floorDivide() {
    binary(mx.floorDivide, (x, y) => Math.floor(x / y), 0.3, 3, 0)();
    same(mx.floorDivide(mx.array(new Int32Array([7, 9, -9, 8])), 4), [1, 2, -3, 2]);
    // The negated lowest integer does not fit: it wraps, and the processor must not trap.
    const lowest = mx.array(new Int32Array([-(2 ** 31), 7]));
    same(mx.floorDivide(lowest, -1), [-(2 ** 31), -7]);
    same(mx.remainder(lowest, -1), [0, 0]);
    const lowest64 = mx.array(new BigInt64Array([-(2n ** 63n)]));
    assert.equal(mx.remainder(lowest64, mx.array(new BigInt64Array([-1n]))).toTypedArray()[0], 0n);
  },
  remainder() {
    binary(mx.remainder, (x, y) => x - Math.floor(x / y) * y, 0.3, 3)();
    // The result has the sign of the divisor.
    same(mx.remainder(mx.array(new Int32Array([7, -7])), mx.array(new Int32Array([4, -4]))), [3, -3]);
    same(mx.remainder(mx.array([-1, 5]), 3), [2, 2]);
  },
  power() {
    binary(mx.power, (x, y) => x ** y, 0.3, 3)();
    same(mx.power(mx.array(new Int32Array([2, -3])), 5), [32, -243]);
  },
  maximum: binary(mx.maximum, Math.max, -3, 3, 0),
  minimum: binary(mx.minimum, Math.min, -3, 3, 0),
  arctan2: binary(mx.arctan2, Math.atan2),
  logaddexp: binary(mx.logaddexp, (x, y) => Math.log(Math.exp(x) + Math.exp(y))),
  equal: comparison(mx.equal, (x, y) => x === y),
  notEqual: comparison(mx.notEqual, (x, y) => x !== y),
  less: comparison(mx.less, (x, y) => x < y),
  lessEqual: comparison(mx.lessEqual, (x, y) => x <= y),
  greater: comparison(mx.greater, (x, y) => x > y),
  greaterEqual: comparison(mx.greaterEqual, (x, y) => x >= y),
  logicalAnd: comparison(mx.logicalAnd, (x, y) => x !== 0 && y !== 0),
  logicalOr: comparison(mx.logicalOr, (x, y) => x !== 0 || y !== 0),
  bitwiseAnd: bits(mx.bitwiseAnd, (x, y) => x & y),
  bitwiseOr: bits(mx.bitwiseOr, (x, y) => x | y),
  bitwiseXor: bits(mx.bitwiseXor, (x, y) => x ^ y),
  leftShift: bits(mx.leftShift, (x, y) => x << y),
  rightShift: bits(mx.rightShift, (x, y) => x >> y),
  where() {
    const condition: Dense = { shape: [3, 1], values: [1, 0, 1] };
    const a = noise([3, 4], 9);
    const b = noise([4], 10);
    const expected = build([3, 4], (i) => (at(condition, i) ? at(a, i) : at(b, i)));
    for (const [layout, x] of layouts(a))
      same(mx.where(toArray(condition, "bool"), x, toArray(b)), expected, layout);
    same(mx.where(toArray(condition), toArray(a), toArray(b)), expected, "a condition of numbers");
    same(mx.where(mx.array([1, 0]), 2, 3), [2, 3], "two numbers");
    same(mx.where(true, mx.array([1, 2]), 0), [1, 2], "a boolean");
  },
  clip() {
    const a = noise([3, 4], 11, -3, 3);
    for (const [layout, x] of layouts(a))
      same(
        mx.clip(x, -1, 2),
        map(a, (v) => Math.min(Math.max(v, -1), 2)),
        layout,
      );
    same(
      mx.clip(toArray(a), null, 0),
      map(a, (v) => Math.min(v, 0)),
    );
    same(
      mx.clip(toArray(a), mx.zeros([4]), null),
      map(a, (v) => Math.max(v, 0)),
    );
    refuses(() => mx.clip(toArray(a), null, null), "clip");
  },
  nanToNum() {
    const largest = 3.4028234663852886e38;
    same(mx.nanToNum(toArray(special)), [0, largest, -largest, 0, 1.5]);
    same(
      mx.nanToNum(toArray(special), { nan: 7, positiveInfinity: 8, negativeInfinity: 9 }),
      [7, 8, 9, 0, 1.5],
    );
  },
  allclose() {
    const a = mx.array([1, 2, Number.NaN]);
    assert.equal(mx.allclose(mx.array([1, 2]), mx.array([1, 2.00001])).item(), true);
    assert.equal(mx.allclose(mx.array([1, 2]), mx.array([1, 2.001])).item(), false);
    assert.equal(mx.allclose(mx.array([1, 2]), mx.array([1, 2.1]), { atol: 0.2 }).item(), true);
    assert.equal(mx.allclose(mx.array([1, 20]), mx.array([1, 21]), { rtol: 0.1 }).item(), true);
    assert.equal(mx.allclose(a, a).item(), false);
    assert.equal(mx.allclose(a, a, { equalNan: true }).item(), true);
  },
  arrayEqual() {
    const a = mx.array([1, Number.NaN]);
    assert.equal(mx.arrayEqual(mx.array([1, 2]), mx.array([1, 2])).item(), true);
    assert.equal(mx.arrayEqual(mx.array([1, 2]), mx.array([1, 3])).item(), false);
    assert.equal(mx.arrayEqual(mx.array([1, 2]), mx.array([[1, 2]])).item(), false);
    assert.equal(mx.arrayEqual(a, a).item(), false);
    assert.equal(mx.arrayEqual(a, a, { equalNan: true }).item(), true);
  },
};
