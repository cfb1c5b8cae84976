/** Element types, named as MLX names them. */
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
 * A handle on an MLX array: a node of a lazy graph until it is evaluated, a buffer after that.
 * Free it with `dispose()`, `using` or a surrounding `scope`; the garbage collector is only the net.
 * It belongs to its thread: `structuredClone` and `postMessage` make an empty object of it, so send `toTypedArray()`.
 */
export interface MxArray {
  /** Sizes of the axes; `[]` for a scalar. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
  /** Number of axes. */
  readonly ndim: number;
  /** Bytes of the elements (`size` times the width of one). */
  readonly nbytes: number;
  readonly disposed: boolean;
  /** Releases the reference. Arrays computed from this one keep what they need. Idempotent. */
  dispose(): void;
  [Symbol.dispose](): void;
  /**
   * The elements in row-major order, evaluating first when needed (synchronously).
   * bfloat16 and float16 come as their raw bits in a `Uint16Array`, bool as `Uint8Array`, complex64 as
   * interleaved `Float32Array`.
   * @throws MlxError when the array is disposed or its evaluation fails.
   */
  toTypedArray(): TypedArray;
  /** The value of an array of one element. @throws MlxError when there is not exactly one. */
  item(): number | bigint | boolean;
  /** MLX's own rendering, `array([1, 2], dtype=float32)`; evaluates. */
  toString(): string;
}

/** What an elementwise operation takes: numbers adopt the dtype of the array beside them. */
export type Operand = MxArray | number | boolean;
