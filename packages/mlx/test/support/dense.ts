import {
  array,
  astype,
  type DType,
  type MxArray,
  slice,
  sliceUpdate,
  type TypedArray,
  transpose,
  zeros,
} from "../../src/index.js";

/** Numbers in row-major order with a shape: the side of a comparison that MLX does not compute. */
export interface Dense {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

export type Nested = number | readonly Nested[];

/** Decodes the raw bits of a bfloat16 or float16. */
export function fromBits(bits: number, dtype: "bfloat16" | "float16"): number {
  const [exponentBits, fractionBits] = dtype === "bfloat16" ? [8, 7] : [5, 10];
  const sign = bits & 0x8000 ? -1 : 1;
  const top = 2 ** exponentBits - 1;
  const exponent = (bits >> fractionBits) & top;
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  const bias = (top - 1) / 2;
  if (exponent === top) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

/** Reads an array: 16-bit floats as numbers, 64-bit integers rounded to doubles, bool as 0 and 1. */
export function dense(a: MxArray): Dense {
  const { shape, dtype } = a;
  const raw: TypedArray = a.toTypedArray();
  const values =
    dtype === "bfloat16" || dtype === "float16"
      ? Array.from(raw as Uint16Array, (bits) => fromBits(bits, dtype))
      : Array.from(raw as ArrayLike<number | bigint>, Number);
  return { shape, values };
}

/** Converts nested lists, or a number, to a {@link Dense}. */
export function nest(data: Nested): Dense {
  const shape: number[] = [];
  for (let level: Nested | undefined = data; Array.isArray(level); level = level[0]) shape.push(level.length);
  const flatten = (part: Nested): number[] => (typeof part === "number" ? [part] : part.flatMap(flatten));
  return { shape, values: flatten(data) };
}

/** Every position of a shape, in row-major order. */
export function positions(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (found, n) => found.flatMap((start) => Array.from({ length: n }, (_, i) => [...start, i])),
    [[]],
  );
}

export const build = (shape: readonly number[], value: (index: number[]) => number): Dense => ({
  shape,
  values: positions(shape).map(value),
});

/** The element at a position, broadcast: axes of size 1 repeat, leading axes may be missing. */
export function at(d: Dense, index: readonly number[]): number {
  const own = index.slice(index.length - d.shape.length);
  return d.values[d.shape.reduce((flat, n, axis) => flat * n + (n === 1 ? 0 : own[axis]!), 0)]!;
}

/** Whether a position lies within a shape. */
export const within = (shape: readonly number[], index: readonly number[]): boolean =>
  shape.every((n, axis) => index[axis]! >= 0 && index[axis]! < n);

/** Permutes the axes like `transpose(d, axes)`. */
export const permute = (d: Dense, axes: readonly number[]): Dense =>
  build(
    axes.map((axis) => d.shape[axis]!),
    (index) =>
      at(
        d,
        axes.map((_, axis) => index[axes.indexOf(axis)]!),
      ),
  );

/** Reduces the values along `axes` to one number per group. */
export function fold(
  d: Dense,
  axes: readonly number[],
  keepDims: boolean,
  value: (values: number[]) => number,
): Dense {
  const kept = d.shape.map((n, axis) => (axes.includes(axis) ? 1 : n));
  const groups = new Map<string, number[]>();
  for (const index of positions(d.shape)) {
    const group = index.map((i, axis) => (axes.includes(axis) ? 0 : i)).join();
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group)!.push(at(d, index));
  }
  const folded = build(kept, (index) => value(groups.get(index.join())!));
  return keepDims ? folded : { ...folded, shape: d.shape.filter((_, axis) => !axes.includes(axis)) };
}

/** Pseudo-random numbers, uniform in `[low, high)`, exact in float32, the same for the same seed. */
export function noise(shape: readonly number[], seed: number, low = -1, high = 1): Dense {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return build(shape, () => Math.fround(low + (high - low) * next()));
}

export function toArray(d: Dense, dtype: DType = "float32"): MxArray {
  const held = array(Float64Array.from(d.values), { shape: d.shape });
  return astype(held, dtype);
}

/** The same values in four memory layouts: packed, transposed, every second element, behind an offset. */
export function layouts(d: Dense, dtype: DType = "float32"): [name: string, a: MxArray][] {
  const reversed = d.shape.map((_, axis) => d.shape.length - 1 - axis);
  const wide = zeros(
    d.shape.map((n) => 2 * n + 1),
    dtype,
  );
  const everySecond = d.shape.map(() => [1, null, 2] as const);
  const behind = d.shape.map(() => [3, null] as const);
  const offset = zeros(
    d.shape.map((n) => n + 3),
    dtype,
  );
  return [
    ["packed", toArray(d, dtype)],
    ["transposed", transpose(toArray(permute(d, reversed), dtype))],
    ["strided", slice(sliceUpdate(wide, toArray(d, dtype), everySecond), everySecond)],
    ["offset", slice(sliceUpdate(offset, toArray(d, dtype), behind), behind)],
  ];
}
