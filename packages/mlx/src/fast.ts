import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { MxArray } from "./types.js";

/**
 * `softmax(scale * q @ kᵀ + mask) @ v`; `q [B, H, Tq, D]`, `k, v [B, Hkv, Tk, D]` → `[B, H, Tq, D]`.
 * `mask` is additive, or boolean (true: attend), broadcast to `[B, H, Tq, Tk]`, or "causal".
 */
export function scaledDotProductAttention(
  q: MxArray,
  k: MxArray,
  v: MxArray,
  options: { scale: number; mask?: MxArray | "causal" | null },
): MxArray {
  // MLX takes the number of q's heads modulo that of k's.
  if (!k.disposed && k.shape[1] === 0)
    throw new MlxError("scaledDotProductAttention", `no heads in keys of shape [${k.shape}]`);
  return options.mask === "causal"
    ? native.scaledDotProductAttention(q, k, v, options.scale, "causal", null)
    : native.scaledDotProductAttention(q, k, v, options.scale, "", options.mask ?? null);
}

/** `x / rms(x) * weight` over the last axis. */
export const rmsNorm = (x: MxArray, weight: MxArray | null, eps: number): MxArray =>
  native.rmsNorm(x, weight, eps);

/** `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis. */
export const layerNorm = (x: MxArray, weight: MxArray | null, bias: MxArray | null, eps: number): MxArray =>
  native.layerNorm(x, weight, bias, eps);

/** Rotary position embedding of the last axis; `x [B, *, T, D]`. `traditional` rotates adjacent pairs. */
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
