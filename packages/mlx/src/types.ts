/** Element types, under MLX's names. */
export type DType =
  | "bool"
  | "uint8"
  | "uint16"
  | "uint32"
  | "uint64"
  | "int8"
  | "int16"
  | "int32"
  | "int64"
  | "float16"
  | "bfloat16"
  | "float32"
  | "float64"
  | "complex64";

/** The typed arrays that hold elements; see `toTypedArray`. */
export type TypedArray =
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/**
 * A handle on an MLX array: a node of a lazy graph until it is evaluated, then a buffer.
 * Free it with `dispose()`, `using` or a surrounding `scope`; the garbage collector is only a safety net.
 * It belongs to its thread: `structuredClone` and `postMessage` turn it into an empty object, so send `toTypedArray()`.
 */
export interface MxArray {
  /** Sizes of the axes; `[]` for a scalar. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
  /** Number of axes. */
  readonly ndim: number;
  /** Size of the elements in bytes. */
  readonly nbytes: number;
  readonly disposed: boolean;
  /** Releases the reference. Arrays computed from this one keep the data they need. Idempotent. */
  dispose(): void;
  [Symbol.dispose](): void;
  /**
   * Returns the elements in row-major order, evaluating synchronously if necessary.
   * bfloat16 and float16 are returned as raw bits in a `Uint16Array`, bool as a `Uint8Array`, complex64 as an
   * interleaved `Float32Array`.
   * @throws MlxError if the array is disposed or its evaluation fails.
   */
  toTypedArray(): TypedArray;
  /** Returns the value of a one-element array. @throws MlxError if it has more or fewer elements. */
  item(): number | bigint | boolean;
  /** Formats the array like MLX, `array([1, 2], dtype=float32)`, evaluating if necessary. */
  toString(): string;
}

/** An argument of an elementwise operation. Numbers adopt the dtype of the other operand. */
export type Operand = MxArray | number | boolean;
