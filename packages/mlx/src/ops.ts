import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { DType, MxArray, Operand } from "./types.js";

/*
 * Every operation is lazy: it adds a node to a graph that `evaluate` computes. It throws an MlxError that names the
 * operation if shapes or dtypes do not fit, or if an operand is disposed. Axes may be negative. Names and semantics are
 * MLX's (ml-explore/mlx, mlx/ops.h), even where NumPy differs.
 */

/** One axis or several. */
export type Axes = number | readonly number[];

export interface ReduceOptions {
  /** The axes to reduce (default: all). */
  axis?: Axes;
  /** Keeps the reduced axes with size 1. */
  keepDims?: boolean;
}

/** The shape, or `[]` for a disposed array, which the native function then rejects under its own name. */
const shapeOf = (a: MxArray): readonly number[] => (a.disposed ? [] : a.shape);

const axesOf = (a: MxArray, axis: Axes | undefined): number[] =>
  axis === undefined ? shapeOf(a).map((_, i) => i) : typeof axis === "number" ? [axis] : [...axis];

// ---------------------------------------------------------------- making arrays

/** Makes an array of zeros, which takes no memory until it is evaluated. */
export const zeros = (shape: readonly number[], dtype: DType = "float32"): MxArray =>
  native.zeros([...shape], dtype);
export const ones = (shape: readonly number[], dtype: DType = "float32"): MxArray =>
  native.ones([...shape], dtype);
export const zerosLike = (a: MxArray): MxArray => native.zerosLike(a);
export const onesLike = (a: MxArray): MxArray => native.onesLike(a);

/** Makes an array filled with one value. */
export const full = (shape: readonly number[], value: Operand, dtype: DType = "float32"): MxArray =>
  native.full([...shape], value, dtype);

/** Makes `start, start + step, …` up to but excluding `stop`. */
export function arange(stop: number, options?: { start?: number; step?: number; dtype?: DType }): MxArray {
  return native.arange(options?.start ?? 0, stop, options?.step ?? 1, options?.dtype ?? "float32");
}

/** Makes `count` evenly spaced values from `start` to `stop`, inclusive. */
export const linspace = (start: number, stop: number, count: number, dtype: DType = "float32"): MxArray =>
  native.linspace(start, stop, count, dtype);

/** Makes a matrix with ones on diagonal `k`. */
export const eye = (rows: number, options?: { columns?: number; k?: number; dtype?: DType }): MxArray =>
  native.eye(rows, options?.columns ?? rows, options?.k ?? 0, options?.dtype ?? "float32");

/** Keeps the lower triangle, up to diagonal `k`. */
export const tril = (a: MxArray, k = 0): MxArray => native.tril(a, k);
/** Keeps the upper triangle, from diagonal `k`. */
export const triu = (a: MxArray, k = 0): MxArray => native.triu(a, k);

// ---------------------------------------------------------------- one operand

export const abs = (a: MxArray): MxArray => native.abs(a);
export const negative = (a: MxArray): MxArray => native.negative(a);
export const sign = (a: MxArray): MxArray => native.sign(a);
export const reciprocal = (a: MxArray): MxArray => native.reciprocal(a);
export const square = (a: MxArray): MxArray => native.square(a);
export const sqrt = (a: MxArray): MxArray => native.sqrt(a);
export const rsqrt = (a: MxArray): MxArray => native.rsqrt(a);
export const exp = (a: MxArray): MxArray => native.exp(a);
export const expm1 = (a: MxArray): MxArray => native.expm1(a);
export const log = (a: MxArray): MxArray => native.log(a);
export const log2 = (a: MxArray): MxArray => native.log2(a);
export const log10 = (a: MxArray): MxArray => native.log10(a);
export const log1p = (a: MxArray): MxArray => native.log1p(a);
export const sin = (a: MxArray): MxArray => native.sin(a);
export const cos = (a: MxArray): MxArray => native.cos(a);
export const tan = (a: MxArray): MxArray => native.tan(a);
export const arcsin = (a: MxArray): MxArray => native.arcsin(a);
export const arccos = (a: MxArray): MxArray => native.arccos(a);
export const arctan = (a: MxArray): MxArray => native.arctan(a);
export const sinh = (a: MxArray): MxArray => native.sinh(a);
export const cosh = (a: MxArray): MxArray => native.cosh(a);
export const tanh = (a: MxArray): MxArray => native.tanh(a);
export const arcsinh = (a: MxArray): MxArray => native.arcsinh(a);
export const arccosh = (a: MxArray): MxArray => native.arccosh(a);
export const arctanh = (a: MxArray): MxArray => native.arctanh(a);
/** `1 / (1 + exp(-a))`. */
export const sigmoid = (a: MxArray): MxArray => native.sigmoid(a);
export const erf = (a: MxArray): MxArray => native.erf(a);
export const erfinv = (a: MxArray): MxArray => native.erfinv(a);
export const floor = (a: MxArray): MxArray => native.floor(a);
export const ceil = (a: MxArray): MxArray => native.ceil(a);
/** Rounds half to even. */
export const round = (a: MxArray, decimals = 0): MxArray => native.round(a, decimals);
export const logicalNot = (a: MxArray): MxArray => native.logicalNot(a);
export const isnan = (a: MxArray): MxArray => native.isnan(a);
export const isinf = (a: MxArray): MxArray => native.isinf(a);
export const isfinite = (a: MxArray): MxArray => native.isfinite(a);
/** Passes the values on and blocks the gradient. */
export const stopGradient = (a: MxArray): MxArray => native.stopGradient(a);

// ---------------------------------------------------------------- two operands, broadcast together

export const add = (a: Operand, b: Operand): MxArray => native.add(a, b);
export const subtract = (a: Operand, b: Operand): MxArray => native.subtract(a, b);
export const multiply = (a: Operand, b: Operand): MxArray => native.multiply(a, b);
export const divide = (a: Operand, b: Operand): MxArray => native.divide(a, b);
export const floorDivide = (a: Operand, b: Operand): MxArray => native.floorDivide(a, b);
export const remainder = (a: Operand, b: Operand): MxArray => native.remainder(a, b);
export const power = (a: Operand, b: Operand): MxArray => native.power(a, b);
export const maximum = (a: Operand, b: Operand): MxArray => native.maximum(a, b);
export const minimum = (a: Operand, b: Operand): MxArray => native.minimum(a, b);
export const arctan2 = (a: Operand, b: Operand): MxArray => native.arctan2(a, b);
export const logaddexp = (a: Operand, b: Operand): MxArray => native.logaddexp(a, b);
export const equal = (a: Operand, b: Operand): MxArray => native.equal(a, b);
export const notEqual = (a: Operand, b: Operand): MxArray => native.notEqual(a, b);
export const less = (a: Operand, b: Operand): MxArray => native.less(a, b);
export const lessEqual = (a: Operand, b: Operand): MxArray => native.lessEqual(a, b);
export const greater = (a: Operand, b: Operand): MxArray => native.greater(a, b);
export const greaterEqual = (a: Operand, b: Operand): MxArray => native.greaterEqual(a, b);
export const logicalAnd = (a: Operand, b: Operand): MxArray => native.logicalAnd(a, b);
export const logicalOr = (a: Operand, b: Operand): MxArray => native.logicalOr(a, b);
export const bitwiseAnd = (a: Operand, b: Operand): MxArray => native.bitwiseAnd(a, b);
export const bitwiseOr = (a: Operand, b: Operand): MxArray => native.bitwiseOr(a, b);
export const bitwiseXor = (a: Operand, b: Operand): MxArray => native.bitwiseXor(a, b);
export const leftShift = (a: Operand, b: Operand): MxArray => native.leftShift(a, b);
export const rightShift = (a: Operand, b: Operand): MxArray => native.rightShift(a, b);

/** Computes `condition ? a : b` elementwise. */
export const where = (condition: Operand, a: Operand, b: Operand): MxArray => native.where(condition, a, b);

/** Limits values to `[min, max]`; a null bound is open. */
export const clip = (a: MxArray, min: Operand | null, max: Operand | null): MxArray =>
  native.clip(a, min, max);

/** Replaces NaN by `nan` (0) and the infinities by the given values (the largest finite ones of the dtype). */
export const nanToNum = (
  a: MxArray,
  options?: { nan?: number; positiveInfinity?: number; negativeInfinity?: number },
): MxArray =>
  native.nanToNum(a, options?.nan ?? 0, options?.positiveInfinity ?? null, options?.negativeInfinity ?? null);

/** Tests whether all elements differ by at most `atol + rtol * |b|`; returns a bool scalar. */
export const allclose = (
  a: MxArray,
  b: MxArray,
  options?: { rtol?: number; atol?: number; equalNan?: boolean },
): MxArray => native.allclose(a, b, options?.rtol ?? 1e-5, options?.atol ?? 1e-8, options?.equalNan ?? false);

/** Tests whether shapes and all elements are equal; returns a bool scalar. */
export const arrayEqual = (a: MxArray, b: MxArray, options?: { equalNan?: boolean }): MxArray =>
  native.arrayEqual(a, b, options?.equalNan ?? false);

// ---------------------------------------------------------------- reductions

export const sum = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.sum(a, axesOf(a, o?.axis), o?.keepDims ?? false);
export const mean = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.mean(a, axesOf(a, o?.axis), o?.keepDims ?? false);
/** Computes the variance with divisor `n - ddof` (`ddof` 0: population, 1: sample). */
export const variance = (a: MxArray, o?: ReduceOptions & { ddof?: number }): MxArray =>
  native.variance(a, axesOf(a, o?.axis), o?.keepDims ?? false, o?.ddof ?? 0);
export const std = (a: MxArray, o?: ReduceOptions & { ddof?: number }): MxArray =>
  native.std(a, axesOf(a, o?.axis), o?.keepDims ?? false, o?.ddof ?? 0);
export const prod = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.prod(a, axesOf(a, o?.axis), o?.keepDims ?? false);
export const max = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.max(a, axesOf(a, o?.axis), o?.keepDims ?? false);
export const min = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.min(a, axesOf(a, o?.axis), o?.keepDims ?? false);
export const all = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.all(a, axesOf(a, o?.axis), o?.keepDims ?? false);
export const any = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.any(a, axesOf(a, o?.axis), o?.keepDims ?? false);
export const logsumexp = (a: MxArray, o?: ReduceOptions): MxArray =>
  native.logsumexp(a, axesOf(a, o?.axis), o?.keepDims ?? false);
/** Finds the index of the largest element (the first of equals) along an axis, or in the flattened array. */
export const argmax = (a: MxArray, o?: { axis?: number; keepDims?: boolean }): MxArray =>
  native.argmax(a, o?.axis ?? null, o?.keepDims ?? false);
export const argmin = (a: MxArray, o?: { axis?: number; keepDims?: boolean }): MxArray =>
  native.argmin(a, o?.axis ?? null, o?.keepDims ?? false);
export const cumsum = (a: MxArray, o?: { axis?: number; reverse?: boolean; inclusive?: boolean }): MxArray =>
  native.cumsum(a, o?.axis ?? null, o?.reverse ?? false, o?.inclusive ?? true);
export const cumprod = (a: MxArray, o?: { axis?: number; reverse?: boolean; inclusive?: boolean }): MxArray =>
  native.cumprod(a, o?.axis ?? null, o?.reverse ?? false, o?.inclusive ?? true);

/** Computes the softmax over `axis` (default: the last). `precise` accumulates 16-bit input in float32. */
export const softmax = (a: MxArray, o?: { axis?: Axes; precise?: boolean }): MxArray =>
  native.softmax(a, axesOf(a, o?.axis ?? -1), o?.precise ?? false);

// ---------------------------------------------------------------- shape

/** MLX accepts negative sizes other than one -1, and divides by the product of the others, which may be 0. */
function checkInferred(operation: string, a: MxArray, shape: readonly number[]): void {
  if (shape.some((n) => n < -1) || (shape.includes(-1) && shape.includes(0)))
    throw new MlxError(operation, `cannot infer sizes [${shape}] from an array of shape [${shapeOf(a)}]`);
}

/** Changes the shape. One size may be -1 and is inferred from the rest. */
export function reshape(a: MxArray, shape: readonly number[]): MxArray {
  checkInferred("reshape", a, shape);
  return native.reshape(a, [...shape]);
}
export const flatten = (a: MxArray, startAxis = 0, endAxis = -1): MxArray =>
  native.flatten(a, startAxis, endAxis);
/** Splits an axis into several. One size may be -1 and is inferred from the rest. */
export function unflatten(a: MxArray, axis: number, shape: readonly number[]): MxArray {
  checkInferred("unflatten", a, shape);
  return native.unflatten(a, axis, [...shape]);
}
/** Drops axes of size 1: those named, or all. */
export const squeeze = (a: MxArray, axis?: Axes): MxArray =>
  native.squeeze(
    a,
    axis === undefined ? shapeOf(a).flatMap((n, i) => (n === 1 ? [i] : [])) : axesOf(a, axis),
  );
export const expandDims = (a: MxArray, axis: Axes): MxArray => native.expandDims(a, axesOf(a, axis));
/** Puts the axes in the given order, or reverses them. */
export const transpose = (a: MxArray, axes?: readonly number[]): MxArray =>
  native.transpose(a, axes ? [...axes] : shapeOf(a).map((_, i) => a.ndim - 1 - i));
export const swapaxes = (a: MxArray, first: number, second: number): MxArray =>
  native.swapaxes(a, first, second);
export const moveaxis = (a: MxArray, source: number, destination: number): MxArray =>
  native.moveaxis(a, source, destination);
export const broadcastTo = (a: Operand, shape: readonly number[]): MxArray =>
  native.broadcastTo(a, [...shape]);
export const concatenate = (arrays: readonly MxArray[], axis = 0): MxArray =>
  native.concatenate([...arrays], axis);
export const stack = (arrays: readonly MxArray[], axis = 0): MxArray => native.stack([...arrays], axis);
/** Splits into equal parts, or at the given indices. */
export const split = (a: MxArray, parts: number | readonly number[], axis = 0): MxArray[] =>
  typeof parts === "number" ? native.split(a, parts, axis) : native.splitAt(a, [...parts], axis);
/** Repeats each element `times` times along `axis`. */
export const repeat = (a: MxArray, times: number, axis: number): MxArray => native.repeat(a, times, axis);
/** Repeats the whole array, `times[i]` times along axis `i`. */
export const tile = (a: MxArray, times: readonly number[]): MxArray => native.tile(a, [...times]);
/** Pads axis `i` by `widths[i]`, `[before, after]`. */
export const pad = (
  a: MxArray,
  widths: readonly (readonly [number, number])[],
  options?: { value?: number; mode?: "constant" | "edge" },
): MxArray =>
  native.pad(
    a,
    widths.map(([before]) => before),
    widths.map(([, after]) => after),
    options?.value ?? 0,
    options?.mode ?? "constant",
  );
export const flip = (a: MxArray, axis?: Axes): MxArray => native.flip(a, axesOf(a, axis));
export const roll = (a: MxArray, shift: number, axis: number): MxArray => native.roll(a, shift, axis);
export const astype = (a: MxArray, dtype: DType): MxArray => native.astype(a, dtype);
/** Reinterprets the bytes as another dtype; the size of the last axis changes accordingly. */
export const view = (a: MxArray, dtype: DType): MxArray => native.view(a, dtype);
/** Lays the elements out in row-major order without gaps. */
export const contiguous = (a: MxArray): MxArray => native.contiguous(a);
/** Copies the elements into a new array. */
export const copy = (a: MxArray): MxArray => native.copy(a);

// ---------------------------------------------------------------- indexing

/**
 * A selection along one axis: everything (null), one index (which drops the axis), or a range `[start, stop]` or
 * `[start, stop, step]`. Negative positions count from the end; a null stop means the end.
 */
export type Range =
  | null
  | number
  | readonly [start: number, stop: number | null]
  | readonly [start: number, stop: number | null, step: number];

interface Bounds {
  start: number[];
  stop: number[];
  step: number[];
  dropped: number[];
}

function boundsOf(operation: string, a: MxArray, ranges: readonly Range[]): Bounds {
  if (!a.disposed && ranges.length > a.ndim)
    throw new MlxError(operation, `${ranges.length} ranges for an array of shape [${a.shape}]`);
  const bounds: Bounds = { start: [], stop: [], step: [], dropped: [] };
  for (const [axis, size] of shapeOf(a).entries()) {
    const range = ranges[axis] ?? null;
    const fromEnd = (i: number): number => (i < 0 ? i + size : i);
    if (typeof range === "number") {
      const index = fromEnd(range);
      if (!Number.isInteger(index) || index < 0 || index >= size)
        throw new MlxError(operation, `index ${range} is outside axis ${axis} of shape [${a.shape}]`);
      bounds.start.push(index);
      bounds.stop.push(index + 1);
      bounds.step.push(1);
      bounds.dropped.push(axis);
    } else {
      const [start, stop, step = 1] = range ?? [0, null];
      if (step < 1)
        throw new MlxError(
          operation,
          `step ${step} of axis ${axis}: steps must be 1 or more; flip the array first`,
        );
      bounds.start.push(Math.min(Math.max(fromEnd(start), 0), size));
      bounds.stop.push(stop === null ? size : Math.min(Math.max(fromEnd(stop), 0), size));
      bounds.step.push(step);
    }
  }
  return bounds;
}

/** Takes a part of the array: one {@link Range} per axis; missing ones select everything. */
export function slice(a: MxArray, ranges: readonly Range[]): MxArray {
  const { start, stop, step, dropped } = boundsOf("slice", a, ranges);
  const part = native.slice(a, start, stop, step);
  if (dropped.length === 0) return part;
  using kept = part;
  return native.squeeze(kept, dropped);
}

/** Returns a copy of `a` in which the part selected by `ranges` is replaced by `update`, broadcast to its shape. */
export function sliceUpdate(a: MxArray, update: Operand, ranges: readonly Range[]): MxArray {
  const { start, stop, step, dropped } = boundsOf("sliceUpdate", a, ranges);
  if (typeof update !== "object" || dropped.length === 0 || shapeOf(update).length === 0)
    return native.sliceUpdate(a, update, start, stop, step);
  using whole = native.expandDims(update, dropped);
  return native.sliceUpdate(a, whole, start, stop, step);
}

/**
 * Takes elements of `a` at integer `indices`, along `axis` or from the flattened array. Negative indices count from the
 * end. The CPU clamps indices to the ends, here and in {@link takeAlongAxis} and {@link putAlongAxis}.
 */
export const take = (a: MxArray, indices: MxArray, axis?: number): MxArray =>
  native.take(a, indices, axis ?? null);
export const takeAlongAxis = (a: MxArray, indices: MxArray, axis: number): MxArray =>
  native.takeAlongAxis(a, indices, axis);
export const putAlongAxis = (a: MxArray, indices: MxArray, values: Operand, axis: number): MxArray =>
  native.putAlongAxis(a, indices, values, axis);
/**
 * Gathers slices of `sliceSizes` at the positions that index arrays give for `axes`. The CPU moves slices that would
 * cross an end inside, here and in {@link scatter} and {@link scatterAdd}.
 */
export const gather = (
  a: MxArray,
  indices: readonly MxArray[],
  axes: readonly number[],
  sliceSizes: readonly number[],
): MxArray => native.gather(a, [...indices], [...axes], [...sliceSizes]);
/** Writes `updates` at the positions that index arrays give for `axes`. */
export const scatter = (
  a: MxArray,
  indices: readonly MxArray[],
  updates: MxArray,
  axes: readonly number[],
): MxArray => native.scatter(a, [...indices], updates, [...axes]);
/** Like {@link scatter}, but adds instead of replacing. */
export const scatterAdd = (
  a: MxArray,
  indices: readonly MxArray[],
  updates: MxArray,
  axes: readonly number[],
): MxArray => native.scatterAdd(a, [...indices], updates, [...axes]);

// ---------------------------------------------------------------- order

export const sort = (a: MxArray, axis = -1): MxArray => native.sort(a, axis);
export const argsort = (a: MxArray, axis = -1): MxArray => native.argsort(a, axis);
/** Returns the `k` largest elements along an axis, in any order. */
export const topk = (a: MxArray, k: number, axis = -1): MxArray => native.topk(a, k, axis);
/** Moves the element at `kth` to where a sort would put it, with smaller ones before it and larger ones after it. */
export const partition = (a: MxArray, kth: number, axis = -1): MxArray => native.partition(a, kth, axis);
export const argpartition = (a: MxArray, kth: number, axis = -1): MxArray =>
  native.argpartition(a, kth, axis);

// ---------------------------------------------------------------- linear algebra

/** Multiplies matrices over the last two axes, broadcasting the others. */
export const matmul = (a: MxArray, b: MxArray): MxArray => native.matmul(a, b);
/** Computes `beta * c + alpha * (a @ b)`. */
export const addmm = (
  c: MxArray,
  a: MxArray,
  b: MxArray,
  options?: { alpha?: number; beta?: number },
): MxArray => native.addmm(c, a, b, options?.alpha ?? 1, options?.beta ?? 1);
export const outer = (a: MxArray, b: MxArray): MxArray => native.outer(a, b);
export const inner = (a: MxArray, b: MxArray): MxArray => native.inner(a, b);
export const tensordot = (
  a: MxArray,
  b: MxArray,
  axesA: readonly number[],
  axesB: readonly number[],
): MxArray => native.tensordot(a, b, [...axesA], [...axesB]);
/** Computes an Einstein sum, `einsum("bhqd,bhkd->bhqk", q, k)`. */
export const einsum = (subscripts: string, ...operands: readonly MxArray[]): MxArray =>
  native.einsum(subscripts, [...operands]);

// ---------------------------------------------------------------- convolution (channels last)

/** One value for all spatial axes, or one per axis. */
export type Spatial = number | readonly number[];

function spatial(operation: string, value: Spatial | undefined, axes: number, fallback: number): number[] {
  if (value === undefined || typeof value === "number")
    return new Array<number>(axes).fill(value ?? fallback);
  if (value.length !== axes) throw new MlxError(operation, `[${value}] for ${axes} spatial axes`);
  return [...value];
}

/** MLX divides by the groups, the channels and the kernel sizes without checking for zero. */
function checkDivisors(operation: string, input: MxArray, weight: MxArray, groups: number): void {
  if (groups < 1) throw new MlxError(operation, `groups must be 1 or more, got ${groups}`);
  if (shapeOf(weight).includes(0) || shapeOf(input).at(-1) === 0)
    throw new MlxError(
      operation,
      `nothing to sum over in input [${input.shape}] and weight [${weight.shape}]`,
    );
}

export interface ConvOptions {
  stride?: Spatial;
  padding?: Spatial;
  dilation?: Spatial;
  groups?: number;
}

function convolve(operation: string, axes: number, input: MxArray, weight: MxArray, o: ConvOptions): MxArray {
  const groups = o.groups ?? 1;
  checkDivisors(operation, input, weight, groups);
  const stride = spatial(operation, o.stride, axes, 1);
  const padding = spatial(operation, o.padding, axes, 0);
  const dilation = spatial(operation, o.dilation, axes, 1);
  return native.convGeneral(input, weight, stride, padding, padding, dilation, [], groups, false);
}

/** `input [N, L, C]`, `weight [O, K, C / groups]` → `[N, L', O]`. */
export const conv1d = (input: MxArray, weight: MxArray, o: ConvOptions = {}): MxArray =>
  convolve("conv1d", 1, input, weight, o);

/** `input [N, H, W, C]`, `weight [O, KH, KW, C / groups]` → `[N, H', W', O]`. */
export const conv2d = (input: MxArray, weight: MxArray, o: ConvOptions = {}): MxArray =>
  convolve("conv2d", 2, input, weight, o);

/** `input [N, D, H, W, C]`, `weight [O, KD, KH, KW, C / groups]` → `[N, D', H', W', O]`. */
export const conv3d = (input: MxArray, weight: MxArray, o: ConvOptions = {}): MxArray =>
  convolve("conv3d", 3, input, weight, o);

/** Convolves with separate padding before and after, input dilation and kernel flip. */
export function convGeneral(
  input: MxArray,
  weight: MxArray,
  o: {
    stride?: readonly number[];
    paddingBefore?: readonly number[];
    paddingAfter?: readonly number[];
    kernelDilation?: readonly number[];
    inputDilation?: readonly number[];
    groups?: number;
    flip?: boolean;
  } = {},
): MxArray {
  const groups = o.groups ?? 1;
  checkDivisors("convGeneral", input, weight, groups);
  return native.convGeneral(
    input,
    weight,
    [...(o.stride ?? [])],
    [...(o.paddingBefore ?? [])],
    [...(o.paddingAfter ?? [])],
    [...(o.kernelDilation ?? [])],
    [...(o.inputDilation ?? [])],
    groups,
    o.flip ?? false,
  );
}

/** `input [N, L, C]`, `weight [O, K, C / groups]` → `[N, L', O]`. */
export function convTranspose1d(
  input: MxArray,
  weight: MxArray,
  o: { stride?: number; padding?: number; dilation?: number; outputPadding?: number; groups?: number } = {},
): MxArray {
  const groups = o.groups ?? 1;
  checkDivisors("convTranspose1d", input, weight, groups);
  const [stride, padding, dilation] = [o.stride ?? 1, o.padding ?? 0, o.dilation ?? 1];
  return native.convTranspose1d(input, weight, stride, padding, dilation, o.outputPadding ?? 0, groups);
}

/** `input [N, H, W, C]`, `weight [O, KH, KW, C / groups]` → `[N, H', W', O]`. */
export function convTranspose2d(
  input: MxArray,
  weight: MxArray,
  o: ConvOptions & { outputPadding?: Spatial } = {},
): MxArray {
  const operation = "convTranspose2d";
  const groups = o.groups ?? 1;
  checkDivisors(operation, input, weight, groups);
  return native.convTranspose2d(
    input,
    weight,
    spatial(operation, o.stride, 2, 1),
    spatial(operation, o.padding, 2, 0),
    spatial(operation, o.dilation, 2, 1),
    spatial(operation, o.outputPadding, 2, 0),
    groups,
  );
}

// ---------------------------------------------------------------- quantization

/** Bit widths of MLX's affine quantization. */
export type Bits = 2 | 3 | 4 | 5 | 6 | 8;

export interface QuantizedMatrix {
  /** Packed integers, `[rows, columns * bits / 32]` uint32. */
  weight: MxArray;
  /** `[rows, columns / groupSize]`. */
  scales: MxArray;
  /** `[rows, columns / groupSize]`. */
  biases: MxArray;
}

export interface QuantizationOptions {
  /** Number of neighbouring columns that share a scale and a bias (default 64). */
  groupSize?: number;
  /** Bits per element (default 4). */
  bits?: Bits;
}

/** Quantizes a matrix, affinely by groups. `groupSize` must divide the columns. A group with NaN or ±∞ has NaN as its scale. */
export function quantize(w: MxArray, o: QuantizationOptions = {}): QuantizedMatrix {
  const groupSize = o.groupSize ?? 64;
  // MLX divides by the group size before checking it.
  if (groupSize < 1) throw new MlxError("quantize", `groupSize must be 32, 64 or 128, got ${groupSize}`);
  const [weight, scales, biases] = native.quantize(w, groupSize, o.bits ?? 4);
  return { weight: weight!, scales: scales!, biases: biases! };
}

/** Restores the dense matrix, in the dtype of its scales. */
export const dequantize = (q: QuantizedMatrix, o: QuantizationOptions = {}): MxArray =>
  native.dequantize(q.weight, q.scales, q.biases, o.groupSize ?? 64, o.bits ?? 4);

/** Computes `x @ dequantize(q)ᵀ`, or `x @ dequantize(q)` if not `transpose`, without making the dense matrix. */
export const quantizedMatmul = (
  x: MxArray,
  q: QuantizedMatrix,
  o: QuantizationOptions & { transpose?: boolean } = {},
): MxArray =>
  native.quantizedMatmul(
    x,
    q.weight,
    q.scales,
    q.biases,
    o.transpose ?? true,
    o.groupSize ?? 64,
    o.bits ?? 4,
  );

/** Converts float8 (e4m3) bits in uint8 to a floating dtype. */
export const fromFp8 = (a: MxArray, dtype: DType): MxArray => native.fromFp8(a, dtype);
/** Converts a floating array to float8 (e4m3) bits in uint8. */
export const toFp8 = (a: MxArray): MxArray => native.toFp8(a);
