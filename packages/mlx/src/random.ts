import type { DType, MxArray, Operand } from "./array.js";
import { MlxError } from "./errors.js";
import { native } from "./load.js";

/*
 * MLX's counter-based generator (threefry): the same key gives the same numbers on every device. Without a key,
 * each draw takes the next one of this thread's sequence.
 */

interface Draw {
  dtype?: DType;
  key?: MxArray | null;
}

function wholeNumber(operation: string, seed: number | bigint): bigint {
  if (typeof seed === "number" && !Number.isSafeInteger(seed))
    throw new MlxError(
      operation,
      `${seed} is no integer that a number holds exactly; a bigint may be larger`,
    );
  return BigInt(seed);
}

/** The key of a seed, an unsigned integer to 2^64-1. */
export const key = (seed: number | bigint): MxArray => native.randomKey(wholeNumber("randomKey", seed));
/** Restarts this thread's own sequence of keys. */
export const seed = (value: number | bigint): void => native.randomSeed(wholeNumber("randomSeed", value));
/** `count` independent keys, `[count, 2]`. */
export const split = (k: MxArray, count = 2): MxArray => native.randomSplit(k, count);
/** Standard normal, or with the mean `loc` and deviation `scale`. */
export const normal = (shape: readonly number[], o: Draw & { loc?: number; scale?: number } = {}): MxArray =>
  native.randomNormal([...shape], o.dtype ?? "float32", o.loc ?? 0, o.scale ?? 1, o.key ?? null);
/** Uniform in `[low, high)`. */
export const uniform = (
  shape: readonly number[],
  o: Draw & { low?: Operand; high?: Operand } = {},
): MxArray => native.randomUniform(o.low ?? 0, o.high ?? 1, [...shape], o.dtype ?? "float32", o.key ?? null);
/** Integers in `[low, high)`. */
export const randint = (low: Operand, high: Operand, shape: readonly number[], o: Draw = {}): MxArray =>
  native.randomInt(low, high, [...shape], o.dtype ?? "int32", o.key ?? null);
/** True with probability `p`. */
export const bernoulli = (p: Operand, shape: readonly number[], o: { key?: MxArray | null } = {}): MxArray =>
  native.randomBernoulli(p, [...shape], o.key ?? null);
/** Normal, limited to `[lower, upper]`. */
export const truncatedNormal = (
  lower: Operand,
  upper: Operand,
  shape: readonly number[],
  o: Draw = {},
): MxArray => native.randomTruncatedNormal(lower, upper, [...shape], o.dtype ?? "float32", o.key ?? null);
export const gumbel = (shape: readonly number[], o: Draw = {}): MxArray =>
  native.randomGumbel([...shape], o.dtype ?? "float32", o.key ?? null);
/** Indices drawn from unnormalized log-probabilities along `axis`. */
export const categorical = (logits: MxArray, o: { axis?: number; key?: MxArray | null } = {}): MxArray =>
  native.randomCategorical(logits, o.axis ?? -1, o.key ?? null);
/** A random order of the elements along an axis. */
export const permutation = (a: MxArray, o: { axis?: number; key?: MxArray | null } = {}): MxArray =>
  native.randomPermutation(a, o.axis ?? 0, o.key ?? null);
