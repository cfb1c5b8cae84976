import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { MxArray } from "./types.js";

/**
 * Computes `softmax(scale * q @ kᵀ + mask) @ v` with `q [B, H, Tq, D]` and `k, v [B, Hkv, Tk, D]` → `[B, H, Tq, D]`.
 * `mask` is additive or boolean (true: attend), broadcast to `[B, H, Tq, Tk]`, or "causal".
 */
export function scaledDotProductAttention(
  q: MxArray,
  k: MxArray,
  v: MxArray,
  options: { scale: number; mask?: MxArray | "causal" | null },
): MxArray {
  // MLX divides the heads of q by those of k without checking for zero.
  if (!k.disposed && k.shape[1] === 0)
    throw new MlxError("scaledDotProductAttention", `no heads in keys of shape [${k.shape}]`);
  return options.mask === "causal"
    ? native.scaledDotProductAttention(q, k, v, options.scale, "causal", null)
    : native.scaledDotProductAttention(q, k, v, options.scale, "", options.mask ?? null);
}

/** Computes `x / rms(x) * weight` over the last axis. */
export const rmsNorm = (x: MxArray, weight: MxArray | null, eps: number): MxArray =>
  native.rmsNorm(x, weight, eps);

/** Computes `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis. */
export const layerNorm = (x: MxArray, weight: MxArray | null, bias: MxArray | null, eps: number): MxArray =>
  native.layerNorm(x, weight, bias, eps);

/** Applies a rotary position embedding to the last axis of `x [B, *, T, D]`. `traditional` rotates adjacent pairs. */
export const rope = (
  x: MxArray,
  options: {
    dims: number;
    traditional?: boolean;
    base?: number | null;
    scale?: number;
    offset?: number;
    freqs?: MxArray | null;
  },
): MxArray =>
  native.rope(
    x,
    options.dims,
    options.traditional ?? false,
    options.freqs ? null : (options.base ?? 10000),
    options.scale ?? 1,
    options.offset ?? 0,
    options.freqs ?? null,
  );
