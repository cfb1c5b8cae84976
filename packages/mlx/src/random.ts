import { randomBytes } from "node:crypto";
import { array } from "./array.js";
import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { DType, MxArray, Operand } from "./types.js";

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

// ---------------------------------------------------------------- this thread's sequence

/*
 * MLX's own sequence is an array that each draw makes another one from. Those are as lazy as all arrays, so that an
 * evaluation that fails, or is aborted, can leave it with whatever was in memory. Here it is two numbers, and the keys
 * are the same.
 */

type Words = readonly [number, number];

const rotations = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const;

/**
 * Threefry-2×32 of twenty rounds: two words of 32 bits for a key and a counter.
 * Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
 */
function threefry([k0, k1]: Words, [c0, c1]: Words): Words {
  const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bda] as const;
  let [x, y] = [(c0 + k0) | 0, (c1 + k1) | 0];
  for (let group = 0; group < 5; group++) {
    for (const bits of rotations[group % 2]!) {
      x = (x + y) | 0;
      y = ((y << bits) | (y >>> (32 - bits))) ^ x;
    }
    x = (x + keys[(group + 1) % 3]!) | 0;
    y = (y + keys[(group + 2) % 3]! + group + 1) | 0;
  }
  return [x >>> 0, y >>> 0];
}

let state: Words = [randomBytes(4).readUInt32LE(), randomBytes(4).readUInt32LE()];

/** Draws with the key, or with the next one of the sequence: the second half of what splitting its state gives. */
function withKey(given: MxArray | null | undefined, draw: (key: MxArray) => MxArray): MxArray {
  if (given) return draw(given);
  const [first, second] = [threefry(state, [0, 2]), threefry(state, [1, 3])];
  state = [first[0], second[0]];
  using next = array(Uint32Array.of(first[1], second[1]));
  return draw(next);
}

/** The key of a seed, an unsigned integer to 2^64-1. */
export const key = (seed: number | bigint): MxArray => native.randomKey(wholeNumber("randomKey", seed));

/** Restarts this thread's own sequence of keys. */
export function seed(value: number | bigint): void {
  const whole = wholeNumber("randomSeed", value);
  if (BigInt.asUintN(64, whole) !== whole)
    throw new MlxError("randomSeed", `expected a whole number from 0 to 2^64-1, got ${value}`);
  state = [Number(whole >> 32n), Number(whole & 0xffffffffn)];
}

/** `count` independent keys, `[count, 2]`. */
export const split = (k: MxArray, count = 2): MxArray => native.randomSplit(k, count);

// ---------------------------------------------------------------- distributions

/** Standard normal, or with the mean `loc` and deviation `scale`. */
export const normal = (shape: readonly number[], o: Draw & { loc?: number; scale?: number } = {}): MxArray =>
  withKey(o.key, (k) => native.randomNormal([...shape], o.dtype ?? "float32", o.loc ?? 0, o.scale ?? 1, k));
/** Uniform in `[low, high)`. */
export const uniform = (
  shape: readonly number[],
  o: Draw & { low?: Operand; high?: Operand } = {},
): MxArray =>
  withKey(o.key, (k) => native.randomUniform(o.low ?? 0, o.high ?? 1, [...shape], o.dtype ?? "float32", k));
/** Integers in `[low, high)`. */
export const randint = (low: Operand, high: Operand, shape: readonly number[], o: Draw = {}): MxArray =>
  withKey(o.key, (k) => native.randomInt(low, high, [...shape], o.dtype ?? "int32", k));
/** True with probability `p`. */
export const bernoulli = (p: Operand, shape: readonly number[], o: { key?: MxArray | null } = {}): MxArray =>
  withKey(o.key, (k) => native.randomBernoulli(p, [...shape], k));
/** Normal, limited to `[lower, upper]`. */
export const truncatedNormal = (
  lower: Operand,
  upper: Operand,
  shape: readonly number[],
  o: Draw = {},
): MxArray =>
  withKey(o.key, (k) => native.randomTruncatedNormal(lower, upper, [...shape], o.dtype ?? "float32", k));
export const gumbel = (shape: readonly number[], o: Draw = {}): MxArray =>
  withKey(o.key, (k) => native.randomGumbel([...shape], o.dtype ?? "float32", k));
/** Indices drawn from unnormalized log-probabilities along `axis`. */
export const categorical = (logits: MxArray, o: { axis?: number; key?: MxArray | null } = {}): MxArray =>
  withKey(o.key, (k) => native.randomCategorical(logits, o.axis ?? -1, k));
/** A random order of the elements along an axis. */
export const permutation = (a: MxArray, o: { axis?: number; key?: MxArray | null } = {}): MxArray =>
  withKey(o.key, (k) => native.randomPermutation(a, o.axis ?? 0, k));
