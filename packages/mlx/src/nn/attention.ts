import { array } from "../array.js";
import { defaultDevice } from "../device.js";
import * as fast from "../fast.js";
import { native } from "../load.js";
import {
  add,
  arange,
  astype,
  broadcastTo,
  concatenate,
  expandDims,
  greaterEqual,
  matmul,
  multiply,
  type Range,
  reshape,
  slice,
  softmax,
  swapaxes,
  where,
} from "../ops.js";
import type { MxArray } from "../types.js";
import { Module } from "./module.js";
import { after, scratchBytes } from "./order.js";

/** The value of a masked score. It is finite, so that a fully masked row does not become NaN. */
const masked = -3.4028234663852886e38;

export interface AttentionOptions {
  /** Factor of the scores, usually `1 / sqrt(head_dim)`. */
  scale: number;
  /** Added to the scores, or boolean (true: attend), broadcast to `[batch, heads, queries, keys]`; or "causal". */
  mask?: MxArray | "causal" | null;
}

/**
 * How attention multiplies: "exact", or "bfloat16": q, k, v and the softmax weights rounded, products summed in
 * float32.
 */
export type AttentionProducts = "exact" | "bfloat16";

/** Whether this machine can multiply bfloat16 values in attention: a Linux CPU with AVX512-BF16. */
export const canMultiplyBfloat16 = (): boolean => native.multipliesBfloat16();

/** {@link attention} without a mask, as a layer with a choice of products. */
export class DotProductAttention extends Module {
  readonly scale: number;
  /** "bfloat16" applies to float32 arrays where {@link canMultiplyBfloat16} allows it, outside gradients. */
  products: AttentionProducts = "exact";

  /** @param scale factor of the scores, usually `1 / sqrt(head_dim)` */
  constructor(scale: number) {
    super();
    this.scale = scale;
  }

  /** `q [batch, heads, queries, head_dim]`, `k, v [batch, heads, keys, head_dim]` → the shape of `q`. */
  forward(q: MxArray, k: MxArray, v: MxArray): MxArray {
    const { scale, products } = this;
    if (products === "bfloat16" && canMultiplyBfloat16() && fusible(q, k, v, null))
      return inHeads(native.fusedBfloat16Attention(q, k, v, scale), q);
    return attention(q, k, v, { scale });
  }
}

/** Sets how all {@link DotProductAttention} layers of a module multiply. */
export function setAttentionProducts(module: Module, products: AttentionProducts): void {
  for (const [, layer] of module.modules())
    if (layer instanceof DotProductAttention) layer.products = products;
}

/** `[batch, queries, heads · head_dim]` → `[batch, heads, queries, head_dim]`, the shape of `q`. */
function inHeads(joined: MxArray, q: MxArray): MxArray {
  const [batch, heads, queries, dims] = q.shape as [number, number, number, number];
  return swapaxes(reshape(joined, [batch, queries, heads, dims]), 1, 2);
}

/**
 * `softmax(scale · q kᵀ + mask) v` with `q [batch, heads, queries, head_dim]` and `k, v [batch, heads, keys, head_dim]`
 * → `[batch, heads, queries, head_dim]`; scores and softmax in float32.
 *
 * On the CPU, MLX would compute the scores of all heads at once. We compute them in blocks: float32 outside gradients
 * in one pass on all threads, anything else in groups of heads (or blocks of queries, where one head is too large),
 * one after another.
 */
export function attention(q: MxArray, k: MxArray, v: MxArray, options: AttentionOptions): MxArray {
  const { scale, mask = null } = options;
  if (defaultDevice() === "gpu") return fast.scaledDotProductAttention(q, k, v, { scale, mask });

  const [batch, heads, queries] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  if (fusible(q, k, v, mask)) {
    const added = mask === null || mask === "causal" ? null : addedToScores(mask, keys);
    return inHeads(native.fusedAttention(q, k, v, scale, added, mask === "causal"), q);
  }
  const { headsAtOnce, queriesAtOnce } = blockSizes(batch, heads, queries, keys);
  const [wideQ, keysOnRight, wideV] = [
    astype(q, "float32"),
    swapaxes(astype(k, "float32"), 2, 3),
    astype(v, "float32"),
  ];
  const factor = array(scale);

  const groups: MxArray[] = [];
  let previous: MxArray | null = null;
  for (let head = 0; head < heads; head += headsAtOnce) {
    const headRange = [head, Math.min(head + headsAtOnce, heads)] as const;
    const blocks: MxArray[] = [];
    for (let query = 0; query < queries; query += queriesAtOnce) {
      const queryRange = [query, Math.min(query + queriesAtOnce, queries)] as const;
      const scaled = multiply(
        slice(wideQ, [null, headRange, queryRange]),
        previous ? after(factor, previous) : factor,
      );
      const scores = applyMask(
        matmul(scaled, slice(keysOnRight, [null, headRange])),
        mask,
        headRange,
        queryRange,
        queries,
      );
      previous = matmul(softmax(scores), slice(wideV, [null, headRange]));
      blocks.push(previous);
    }
    groups.push(blocks.length === 1 ? blocks[0]! : concatenate(blocks, 2));
  }
  const result = groups.length === 1 ? groups[0]! : concatenate(groups, 1);
  return astype(result, q.dtype);
}

function fusible(q: MxArray, k: MxArray, v: MxArray, mask: AttentionOptions["mask"]): boolean {
  if (![q, k, v].every((a) => native.fusible(a))) return false;
  // The plain operations handle queries that see no keys.
  if (mask === "causal") return q.shape[2]! <= k.shape[2]!;
  return !mask || mask.dtype === "bool" || native.fusible(mask);
}

/** Expands a mask to `[batch or 1, heads or 1, queries or 1, keys]`, float32, to add to the scores. */
function addedToScores(mask: MxArray, keys: number): MxArray {
  const leading = mask.shape.slice(0, -1);
  const whole = broadcastTo(mask, [...leading, keys]);
  const spread = reshape(whole, [...new Array<number>(4 - mask.ndim).fill(1), ...leading, keys]);
  return mask.dtype === "bool" ? where(spread, 0, masked) : spread;
}

/** Number of heads, and of queries per head, whose scores fit the scratch memory. */
function blockSizes(
  batch: number,
  heads: number,
  queries: number,
  keys: number,
): { headsAtOnce: number; queriesAtOnce: number } {
  const bytesOfQuery = 4 * batch * keys;
  const headsAtOnce = Math.min(heads, Math.floor(scratchBytes / (bytesOfQuery * queries)));
  if (headsAtOnce >= 1) return { headsAtOnce, queriesAtOnce: queries };
  return { headsAtOnce: 1, queriesAtOnce: Math.max(1, Math.floor(scratchBytes / bytesOfQuery)) };
}

function applyMask(
  scores: MxArray,
  mask: MxArray | "causal" | null,
  headRange: readonly [number, number],
  queryRange: readonly [number, number],
  queries: number,
): MxArray {
  if (mask === null) return scores;
  if (mask === "causal") return where(causal(queryRange, queries, scores.shape[3]!), scores, masked);
  const [maskHeads, maskQueries] = [mask.shape.at(-3), mask.shape.at(-2)];
  const ranges: Range[] = mask.shape.map(() => null);
  if (maskHeads !== undefined && maskHeads > 1) ranges[mask.ndim - 3] = headRange;
  if (maskQueries !== undefined && maskQueries > 1) ranges[mask.ndim - 2] = queryRange;
  const part = slice(mask, ranges);
  return mask.dtype === "bool" ? where(part, scores, masked) : add(scores, astype(part, "float32"));
}

/** Rows `start` to `stop` of the causal mask. As in MLX, the last query sees all keys. */
function causal([start, stop]: readonly [number, number], queries: number, keys: number): MxArray {
  const offset = keys - queries;
  const lastSeen = expandDims(arange(stop + offset, { start: start + offset, dtype: "int32" }), 1);
  return greaterEqual(lastSeen, arange(keys, { dtype: "int32" }));
}
