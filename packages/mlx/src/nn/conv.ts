import { defaultDevice } from "../device.js";
import { native } from "../load.js";
import {
  add,
  astype,
  broadcastTo,
  concatenate,
  convGeneral,
  convTranspose2d,
  expandDims,
  matmul,
  multiply,
  reshape,
  slice,
  transpose,
  zeros,
} from "../ops.js";
import type { MxArray } from "../types.js";
import { silu } from "./activations.js";
import { Module } from "./module.js";
import type { GroupNorm } from "./norm.js";
import { scratchBytes } from "./order.js";

interface ConvOptions {
  kernelSize: number;
  /** Default 1. */
  stride?: number;
  /** Zeros on each side, or [above and left, below and right] (default 0). */
  padding?: number | readonly [before: number, after: number];
  /** Default true. */
  bias?: boolean;
}

/** Operations around a convolution, fused if the backend can, to avoid image-sized temporaries. */
export interface ConvExtras {
  /** Normalizes the input and applies SiLU to it before the convolution. */
  norm?: GroupNorm;
  /** The same with given {@link GroupNorm.factors}, for an `x` that is a band of the normalized image. */
  factors?: MxArray;
  /** Enlarges the input by this factor in both directions, by nearest neighbour. */
  repeat?: number;
  /** Added to the result; has its shape. */
  residual?: MxArray;
}

/** Two-dimensional convolution, channels last. The weight is `[out, kh, kw, in]`, in files `[out, in, kh, kw]`. */
export class Conv2d extends Module {
  weight: MxArray;
  bias: MxArray | null;
  readonly kernelSize: number;
  readonly stride: number;
  readonly padding: readonly [before: number, after: number];

  constructor(inChannels: number, outChannels: number, options: ConvOptions) {
    super();
    const { kernelSize, stride = 1, padding = 0, bias = true } = options;
    this.weight = zeros([outChannels, kernelSize, kernelSize, inChannels]);
    this.bias = bias ? zeros([outChannels]) : null;
    this.kernelSize = kernelSize;
    this.stride = stride;
    this.padding = typeof padding === "number" ? [padding, padding] : padding;
  }

  /** `[n, h, w, in]` → `[n, h', w', out]`. */
  forward(x: MxArray, extras: ConvExtras = {}): MxArray {
    const { norm, factors, repeat = 1, residual } = extras;
    const { weight, bias, stride, padding } = this;
    const fusible = [x, weight, bias, residual].every((a) => !a || native.fusible(a));
    if (fusible && (!norm || native.fusible(norm.weight))) {
      const statistics =
        factors ?? (norm && native.groupStatistics(x, norm.weight, norm.bias, norm.groups, norm.eps));
      return native.fusedConvolution(
        x,
        weight,
        bias,
        statistics ?? null,
        residual ?? null,
        stride,
        ...padding,
        repeat,
      );
    }
    const normed = factors ? normedWith(factors, x) : norm ? norm.forward(x, "silu") : x;
    const enlarged = repeat > 1 ? enlarge(normed, repeat) : normed;
    const y = defaultDevice() === "cpu" ? this.inBands(enlarged) : this.convolve(enlarged, ...padding);
    const biased = bias ? add(y, bias) : y;
    return residual ? add(residual, biased) : biased;
  }

  /** Convolves `x` with `above` and `below` rows of zeros around it. */
  private convolve(x: MxArray, above: number, below: number): MxArray {
    const { stride, padding } = this;
    return convGeneral(x, this.weight, {
      stride: [stride, stride],
      paddingBefore: [above, padding[0]],
      paddingAfter: [below, padding[1]],
    });
  }

  /**
   * MLX's CPU backend copies the patches of all output positions before it multiplies, `kernelSize²` times the image.
   * We convolve bands of output rows one after another instead.
   */
  private inBands(x: MxArray): MxArray {
    const { kernelSize, stride, padding } = this;
    const [n, height, width, channels] = x.shape as [number, number, number, number];
    const [before, after] = padding;
    const rows = Math.floor((height + before + after - kernelSize) / stride) + 1;
    const columns = Math.floor((width + before + after - kernelSize) / stride) + 1;
    const bytesOfRow = 4 * n * columns * kernelSize ** 2 * channels;
    const band = Math.max(1, Math.floor(scratchBytes / bytesOfRow));
    if (band >= rows) return this.convolve(x, before, after);

    const bands: MxArray[] = [];
    for (let start = 0; start < rows; start += band) {
      const top = start * stride - before;
      const bottom = (Math.min(start + band, rows) - 1) * stride - before + kernelSize;
      const rowsInside = slice(x, [null, [Math.max(top, 0), Math.min(bottom, height)]]);
      bands.push(this.convolve(rowsInside, Math.max(-top, 0), Math.max(bottom - height, 0)));
    }
    return concatenate(bands, 1);
  }

  protected override axesInFile(name: string): readonly number[] | null {
    return name === "weight" ? [0, 2, 3, 1] : null;
  }
}

/** `silu(x · scale + shift)` with the factors `[n, 2, c]` of the channels. */
function normedWith(factors: MxArray, x: MxArray): MxArray {
  const [scale, shift] = [0, 1].map((i) => expandDims(slice(factors, [null, [i, i + 1]]), 1)) as [
    MxArray,
    MxArray,
  ];
  return silu(astype(add(multiply(astype(x, "float32"), scale), shift), x.dtype));
}

/** `[n, h, w, c]` → `[n, times · h, times · w, c]`, by nearest neighbour. */
function enlarge(x: MxArray, times: number): MxArray {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const repeated = broadcastTo(reshape(x, [n, h, 1, w, 1, c]), [n, h, times, w, times, c]);
  return reshape(repeated, [n, times * h, times * w, c]);
}

/**
 * Transposed two-dimensional convolution, channels last. The weight is `[out, kh, kw, in]`, in files `[in, out, kh,
 * kw]`.
 */
export class ConvTranspose2d extends Module {
  weight: MxArray;
  bias: MxArray | null;
  readonly stride: number;
  readonly padding: number;

  constructor(inChannels: number, outChannels: number, options: ConvOptions & { padding?: number }) {
    super();
    const { kernelSize, stride = 1, padding = 0, bias = true } = options;
    this.weight = zeros([outChannels, kernelSize, kernelSize, inChannels]);
    this.bias = bias ? zeros([outChannels]) : null;
    this.stride = stride;
    this.padding = padding;
  }

  /** `[n, h, w, in]` → `[n, (h - 1) * stride - 2 * padding + kernelSize, …, out]`. */
  forward(x: MxArray): MxArray {
    const { weight, bias, stride, padding } = this;
    const apart = weight.shape[1] === stride && padding === 0 && defaultDevice() === "cpu";
    const y = apart ? this.spread(x) : convTranspose2d(x, weight, { stride, padding });
    return bias ? add(y, bias) : y;
  }

  /**
   * If the patches of neighbouring inputs do not overlap, the convolution is one matrix product. On the CPU, BLAS
   * computes it a hundred times as fast as MLX's loops.
   */
  private spread(x: MxArray): MxArray {
    const { weight, stride } = this;
    const [n, height, width, channels] = x.shape as [number, number, number, number];
    const out = weight.shape[0]!;
    const rows = reshape(transpose(weight, [1, 2, 0, 3]), [stride * stride * out, channels]);
    const patches = reshape(matmul(x, transpose(rows)), [n, height, width, stride, stride, out]);
    return reshape(transpose(patches, [0, 1, 3, 2, 4, 5]), [n, height * stride, width * stride, out]);
  }

  protected override axesInFile(name: string): readonly number[] | null {
    return name === "weight" ? [1, 2, 3, 0] : null;
  }
}
