import type { MxArray } from "../array.js";
import { MlxError } from "../errors.js";
import * as fast from "../fast.js";
import { native } from "../load.js";
import {
  add,
  astype,
  mean,
  multiply,
  ones,
  repeat,
  reshape,
  rsqrt,
  square,
  subtract,
  zeros,
} from "../ops.js";
import { silu } from "./activations.js";
import { Module } from "./module.js";

/** `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis; statistics in float32. */
export class LayerNorm extends Module {
  weight: MxArray | null;
  bias: MxArray | null;
  readonly eps: number;

  /** @param options `eps` 1e-5, `affine` (weight and bias) true, `bias` as `affine`. */
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
   * `norm(x) · (1 + scale) + shift`, the adaptive norm of diffusion transformers: `x [batch, tokens, dims]`, `scale`
   * and `shift [batch, 1, dims]` → the shape of `x`.
   */
  modulated(x: MxArray, scale: MxArray, shift: MxArray): MxArray {
    if (!this.weight && native.fusible(x)) return native.fusedModulatedNorm(x, scale, shift, this.eps);
    return add(multiply(this.forward(x), add(scale, 1)), shift);
  }
}

/** `x / sqrt(mean(x²) + eps) * weight` over the last axis; statistics in float32. */
export class RMSNorm extends Module {
  weight: MxArray;
  readonly eps: number;

  /** @param options `eps` 1e-5. */
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
 * Group normalization with PyTorch's grouping: neighbouring channels form a group, whose mean and variance are taken
 * over its channels and all positions, in float32.
 */
export class GroupNorm extends Module {
  weight: MxArray;
  bias: MxArray;
  readonly groups: number;
  readonly eps: number;

  /** @param options `eps` 1e-5. @throws {MlxError} when `groups` does not divide `channels`. */
  constructor(groups: number, channels: number, options: { eps?: number } = {}) {
    super();
    if (channels % groups !== 0)
      throw new MlxError("GroupNorm", `${channels} channels cannot form ${groups} groups`);
    this.weight = ones([channels]);
    this.bias = zeros([channels]);
    this.groups = groups;
    this.eps = options.eps ?? 1e-5;
  }

  /** `[n, h, w, channels]` → the same shape, through SiLU if asked. */
  forward(x: MxArray, activation?: "silu"): MxArray {
    const { weight, bias, groups, eps } = this;
    if (native.fusible(x) && native.fusible(weight))
      return native.fusedGroupNorm(x, weight, bias, groups, eps, activation === "silu");
    const normalized = this.normalize(x);
    return activation === "silu" ? silu(normalized) : normalized;
  }

  private normalize(x: MxArray): MxArray {
    const wide = astype(x, "float32");
    const centred = subtract(wide, this.groupMean(wide));
    const scale = rsqrt(add(this.groupMean(square(centred)), this.eps));
    const normalized = add(multiply(centred, multiply(scale, this.weight)), this.bias);
    return astype(normalized, x.dtype);
  }

  /**
   * The mean of each group, spread over its channels: `[n, h, w, c]` → `[n, 1, 1, c]`.
   * Along one axis after the other: a float32 sum over a whole picture at once loses digits (2e-3 at 1024×1024).
   */
  private groupMean(x: MxArray): MxArray {
    const [n, , , channels] = x.shape as [number, number, number, number];
    const size = channels / this.groups;
    const ofChannels = mean(mean(x, { axis: 2 }), { axis: 1 });
    const ofGroups = mean(reshape(ofChannels, [n, this.groups, size]), { axis: 2 });
    return reshape(repeat(ofGroups, size, 1), [n, 1, 1, channels]);
  }
}
