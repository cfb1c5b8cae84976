import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { DType, MxArray, TypedArray } from "./types.js";

type Nested = number | boolean | readonly Nested[];

type TypedArrayConstructor = new (length: number) => TypedArray;

/** The typed arrays of each dtype; nested lists become the first one. */
const containers: readonly [TypedArrayConstructor, DType][] = [
  [Uint8Array, "uint8"],
  [Uint8ClampedArray, "uint8"],
  [Uint16Array, "uint16"],
  [Uint32Array, "uint32"],
  [BigUint64Array, "uint64"],
  [Int8Array, "int8"],
  [Int16Array, "int16"],
  [Int32Array, "int32"],
  [BigInt64Array, "int64"],
  [Float32Array, "float32"],
  [Float64Array, "float64"],
];

/**
 * Makes an array from a typed array (copied; one axis unless `shape` is given), a number, or nested lists of numbers
 * (float32 unless `dtype` is given).
 *
 * A `Uint16Array` with dtype "bfloat16" or "float16" is read as raw bits, and a `Float32Array` with "complex64" as
 * pairs of real and imaginary parts, matching `toTypedArray`. Any other combination converts the values to `dtype`.
 * @throws {MlxError} if the data does not fill the shape, or lists are ragged.
 */
export function array(
  data: TypedArray | Nested,
  options: { shape?: readonly number[]; dtype?: DType } = {},
): MxArray {
  if (ArrayBuffer.isView(data)) {
    const natural = containers.find(([type]) => data instanceof type)?.[1];
    if (!natural) throw new MlxError("array", `cannot read a ${(data as object).constructor.name}`);
    const dtype = options.dtype ?? natural;
    const pairs = data instanceof Float32Array && dtype === "complex64";
    const shape = options.shape ?? [pairs ? data.length / 2 : data.length];
    const rawBits = data instanceof Uint16Array && (dtype === "bfloat16" || dtype === "float16");
    if (rawBits || pairs || dtype === natural) return native.fromTypedArray(data, [...shape], dtype);
    using plain = native.fromTypedArray(data, [...shape], natural);
    return native.astype(plain, dtype);
  }
  const shape: number[] = [];
  for (let level: Nested | undefined = data; Array.isArray(level); level = level[0]) shape.push(level.length);
  const dtype = options.dtype ?? (typeof data === "boolean" ? "bool" : "float32");
  const [Container, held] = containers.find(([, name]) => name === dtype) ?? [
    dtype === "bool" ? Uint8Array : Float32Array,
    dtype === "bool" ? "bool" : "float32",
  ];
  const values = new Container(shape.reduce((product, n) => product * n, 1));
  const wide = values instanceof BigInt64Array || values instanceof BigUint64Array;
  let filled = 0;
  const fill = (part: Nested, axis: number): void => {
    if (Array.isArray(part)) {
      if (part.length !== shape[axis]) throw new MlxError("array", "the nested lists are ragged");
      for (const inner of part) fill(inner, axis + 1);
    } else {
      if (axis !== shape.length) throw new MlxError("array", "the nested lists are ragged");
      const number = typeof part === "boolean" ? Number(part) : part;
      if (typeof number !== "number") throw new MlxError("array", `expected a number, got ${String(part)}`);
      if (wide && !Number.isSafeInteger(number))
        throw new MlxError(
          "array",
          `${number} is not an integer that a number holds exactly; pass a typed array`,
        );
      values[filled++] = wide ? BigInt(number) : number;
    }
  };
  fill(data, 0);
  const exact = native.fromTypedArray(values, [...(options.shape ?? shape)], held as DType);
  if (held === dtype) return exact;
  using source = exact;
  return native.astype(source, dtype);
}

/** Whether `value` is an {@link MxArray}. */
export function isArray(value: unknown): value is MxArray {
  return native.isArray(value);
}
