import { MlxError } from "../errors.js";
import * as fast from "../fast.js";
import { native } from "../load.js";
import {
  add,
  astype,
  divide,
  mean,
  multiply,
  negative,
  ones,
  repeat,
  reshape,
  rsqrt,
  slice,
  square,
  stack,
  subtract,
  zeros,
} from "../ops.js";
import type { MxArray } from "../types.js";
import { silu } from "./activations.js";
import { Module } from "./module.js";

/** `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis, with statistics in float32. */
export class LayerNorm extends Module {
  weight: MxArray | null;
  bias: MxArray | null;
  readonly eps: number;

  /** @param options `eps` (1e-5), `affine` (weight and bias, true), `bias` (same as `affine`) */
  constructor(dims: number, options: { eps?: number; affine?: boolean; bias?: boolean } = {}) {
    super();
    const affine = options.affine ?? true;
    this.weight = affine ? ones([dims]) : null;
    this.bias = affine && (options.bias ?? true) ? zeros([dims]) : null;
    this.eps = options.eps ?? 1e-5;
  }

  /** `[..., dims]` → the same shape. */
  forward(x: MxArray): MxArray {
    const { weight, bias, eps } = this;
    if (weight && bias && [x, weight, bias].every((a) => native.fusible(a)))
      return native.fusedLayerNorm(x, weight, bias, eps);
    return fast.layerNorm(x, weight, bias, eps);
  }

  /**
   * Computes `norm(x) · (1 + scale) + shift`, the adaptive norm of diffusion transformers: `x [batch, tokens, dims]`,
   * `scale` and `shift [batch, 1, dims]` → the shape of `x`.
   */
  modulated(x: MxArray, scale: MxArray, shift: MxArray): MxArray {
    if (!this.weight && native.fusible(x)) return native.fusedModulatedNorm(x, scale, shift, this.eps);
    return add(multiply(this.forward(x), add(scale, 1)), shift);
  }
}

/** `x / sqrt(mean(x²) + eps) * weight` over the last axis, with statistics in float32. */
export class RMSNorm extends Module {
  weight: MxArray;
  readonly eps: number;

  /** @param options `eps` (1e-5) */
  constructor(dims: number, options: { eps?: number } = {}) {
    super();
    this.weight = ones([dims]);
    this.eps = options.eps ?? 1e-5;
  }

  /** `[..., dims]` → the same shape. */
  forward(x: MxArray): MxArray {
    return fast.rmsNorm(x, this.weight, this.eps);
  }
}

/**
 * Combines the {@link GroupNorm.moments} of two bands (Chan, Golub, LeVeque, 1979). The first has `share` of the
 * positions.
 */
export function joinMoments(a: MxArray, b: MxArray, share: number): MxArray {
  const [meanA, meanB] = [slice(a, [null, 0]), slice(b, [null, 0])];
  const apart = subtract(meanB, meanA);
  const average = (x: MxArray, y: MxArray): MxArray => add(multiply(x, share), multiply(y, 1 - share));
  const variance = add(
    average(slice(a, [null, 1]), slice(b, [null, 1])),
    multiply(square(apart), share * (1 - share)),
  );
  return stack([add(meanA, multiply(apart, 1 - share)), variance], 1);
}

/**
 * Group normalization with PyTorch's grouping: neighbouring channels form a group. Mean and variance of a group cover
 * its channels and all positions, in float32.
 */
export class GroupNorm extends Module {
  weight: MxArray;
  bias: MxArray;
  readonly groups: number;
  readonly eps: number;

  /** @param options `eps` (1e-5). @throws {MlxError} if `groups` does not divide `channels`. */
  constructor(groups: number, channels: number, options: { eps?: number } = {}) {
    super();
    if (channels % groups !== 0)
      throw new MlxError("GroupNorm", `${channels} channels cannot form ${groups} groups`);
    this.weight = ones([channels]);
    this.bias = zeros([channels]);
    this.groups = groups;
    this.eps = options.eps ?? 1e-5;
  }

  /** `[n, h, w, channels]` → the same shape, followed by SiLU if named. */
  forward(x: MxArray, activation?: "silu"): MxArray {
    const { weight, bias, groups, eps } = this;
    if (native.fusible(x) && native.fusible(weight))
      return native.fusedGroupNorm(x, weight, bias, groups, eps, activation === "silu");
    const normalized = this.normalize(x);
    return activation === "silu" ? silu(normalized) : normalized;
  }

  /**
   * Computes mean and variance of each group over a band of an image: `[n, h, w, channels]` → `[n, 2, groups]` float32.
   * {@link joinMoments} combines those of all bands.
   */
  moments(x: MxArray): MxArray {
    const { groups, eps, weight } = this;
    const [n, , , channels] = x.shape as [number, number, number, number];
    if (native.fusible(x) && native.fusible(weight)) {
      const factors = native.groupStatistics(x, ones([channels]), zeros([channels]), groups, eps);
      const ofGroups = slice(reshape(factors, [n, 2, groups, channels / groups]), [null, null, null, 0]);
      const [scale, shift] = [slice(ofGroups, [null, 0]), slice(ofGroups, [null, 1])];
      return stack([negative(divide(shift, scale)), subtract(square(divide(1, scale)), eps)], 1);
    }
    const wide = astype(x, "float32");
    const centre = this.groupMean(wide);
    const variance = this.groupMean(square(subtract(wide, centre)));
    const ofGroups = (a: MxArray): MxArray =>
      slice(reshape(a, [n, groups, channels / groups]), [null, null, 0]);
    return stack([ofGroups(centre), ofGroups(variance)], 1);
  }

  /**
   * Converts moments to the scale and shift of each channel, `[n, 2, groups]` → `[n, 2, channels]` float32:
   * {@link forward} is `x · scale + shift`.
   */
  factors(moments: MxArray): MxArray {
    const { weight, bias, groups, eps } = this;
    const spread = (a: MxArray): MxArray => repeat(a, weight.size / groups, 1);
    const scale = multiply(spread(rsqrt(add(slice(moments, [null, 1]), eps))), weight);
    return stack([scale, subtract(bias, multiply(spread(slice(moments, [null, 0])), scale))], 1);
  }

  private normalize(x: MxArray): MxArray {
    const wide = astype(x, "float32");
    const centred = subtract(wide, this.groupMean(wide));
    const scale = rsqrt(add(this.groupMean(square(centred)), this.eps));
    const normalized = add(multiply(centred, multiply(scale, this.weight)), this.bias);
    return astype(normalized, x.dtype);
  }

  /**
   * Computes the mean of each group, repeated for its channels: `[n, h, w, c]` → `[n, 1, 1, c]`.
   * Averages one axis after the other: a single float32 sum over a whole image loses digits (2e-3 at 1024×1024).
   */
  private groupMean(x: MxArray): MxArray {
    const [n, , , channels] = x.shape as [number, number, number, number];
    const size = channels / this.groups;
    const ofChannels = mean(mean(x, { axis: 2 }), { axis: 1 });
    const ofGroups = mean(reshape(ofChannels, [n, this.groups, size]), { axis: 2 });
    return reshape(repeat(ofGroups, size, 1), [n, 1, 1, channels]);
  }
}
