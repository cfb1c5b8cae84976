import { add, type MxArray, multiply, ones, rsqrt, subtract, zeros } from "@mflux-depth/mlx";
import { Conv2d, Module, relu } from "@mflux-depth/mlx/nn";
import type { ConvOp } from "./bands.js";

/*
 * Parts that the decoders of Depth Pro and Depth Anything share, after Ranftl et al., "Vision Transformers for Dense
 * Prediction" (DPT), arXiv:2103.13413.
 */

/** Batch normalization with the statistics of training. */
class BatchNorm2d extends Module {
  weight: MxArray;
  bias: MxArray;
  runningMean: MxArray;
  runningVar: MxArray;

  constructor(channels: number) {
    super();
    this.weight = ones([channels]);
    this.bias = zeros([channels]);
    this.runningMean = zeros([channels]);
    this.runningVar = ones([channels]);
  }

  /** `[..., channels]` → the same shape */
  forward(x: MxArray): MxArray {
    // PyTorch's default eps; no config changes it.
    const scale = multiply(this.weight, rsqrt(add(this.runningVar, 1e-5)));
    return add(multiply(subtract(x, this.runningMean), scale), this.bias);
  }
}

/** ReLU and 3×3, twice, plus the input. Feature maps are `[1, height, width, channels]`. */
export class PreActResidualLayer extends Module {
  convolution1: Conv2d;
  convolution2: Conv2d;
  batchNorm1: BatchNorm2d | null;
  batchNorm2: BatchNorm2d | null;

  constructor(channels: number, { bias = true, batchNorm = false } = {}) {
    super();
    const convolution = (): Conv2d => new Conv2d(channels, channels, { kernelSize: 3, padding: 1, bias });
    const norm = (): BatchNorm2d | null => (batchNorm ? new BatchNorm2d(channels) : null);
    this.convolution1 = convolution();
    this.convolution2 = convolution();
    this.batchNorm1 = norm();
    this.batchNorm2 = norm();
  }

  /** @param plus a map to add to the result */
  ops(plus?: MxArray): ConvOp[] {
    const half = (conv: Conv2d, norm: BatchNorm2d | null): ConvOp => ({
      conv,
      before: relu,
      ...(norm && { after: (y) => norm.forward(y) }),
    });
    return [
      half(this.convolution1, this.batchNorm1),
      { ...half(this.convolution2, this.batchNorm2), skip: { conv: null }, ...(plus && { plus }) },
    ];
  }
}
