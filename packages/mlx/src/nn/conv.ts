import type { MxArray } from "../array.js";
import { defaultDevice } from "../device.js";
import {
  add,
  concatenate,
  convGeneral,
  convTranspose2d,
  matmul,
  reshape,
  slice,
  transpose,
  zeros,
} from "../ops.js";
import { Module } from "./module.js";
import { scratchBytes } from "./order.js";

interface ConvOptions {
  kernelSize: number;
  /** Default 1. */
  stride?: number;
  /** Zeros on each side (default 0). */
  padding?: number;
  /** Default true. */
  bias?: boolean;
}

/** Two-dimensional convolution, channels last. Held as `[out, kh, kw, in]`, in files `[out, in, kh, kw]`. */
export class Conv2d extends Module {
  weight: MxArray;
  bias: MxArray | null;
  readonly kernelSize: number;
  readonly stride: number;
  readonly padding: number;

  constructor(inChannels: number, outChannels: number, options: ConvOptions) {
    super();
    const { kernelSize, stride = 1, padding = 0, bias = true } = options;
    this.weight = zeros([outChannels, kernelSize, kernelSize, inChannels]);
    this.bias = bias ? zeros([outChannels]) : null;
    this.kernelSize = kernelSize;
    this.stride = stride;
    this.padding = padding;
  }

  /** `[n, h, w, in]` → `[n, h', w', out]`. */
  forward(x: MxArray): MxArray {
    const y = defaultDevice() === "cpu" ? this.inBands(x) : this.convolve(x, this.padding, this.padding);
    return this.bias ? add(y, this.bias) : y;
  }

  /** `above` and `below` are the rows of zeros around `x`. */
  private convolve(x: MxArray, above: number, below: number): MxArray {
    const { stride, padding } = this;
    return convGeneral(x, this.weight, {
      stride: [stride, stride],
      paddingBefore: [above, padding],
      paddingAfter: [below, padding],
    });
  }

  /**
   * The CPU backend copies the patch of every output position side by side before it multiplies, `kernelSize²` times
   * the picture: so bands of output rows, one after another.
   */
  private inBands(x: MxArray): MxArray {
    const { kernelSize, stride, padding } = this;
    const [n, height, width, channels] = x.shape as [number, number, number, number];
    const rows = Math.floor((height + 2 * padding - kernelSize) / stride) + 1;
    const columns = Math.floor((width + 2 * padding - kernelSize) / stride) + 1;
    const bytesOfRow = 4 * n * columns * kernelSize ** 2 * channels;
    const band = Math.max(1, Math.floor(scratchBytes / bytesOfRow));
    if (band >= rows) return this.convolve(x, padding, padding);

    const bands: MxArray[] = [];
    for (let start = 0; start < rows; start += band) {
      const top = start * stride - padding;
      const bottom = (Math.min(start + band, rows) - 1) * stride - padding + kernelSize;
      const rowsInside = slice(x, [null, [Math.max(top, 0), Math.min(bottom, height)]]);
      bands.push(this.convolve(rowsInside, Math.max(-top, 0), Math.max(bottom - height, 0)));
    }
    return concatenate(bands, 1);
  }

  protected override axesInFile(name: string): readonly number[] | null {
    return name === "weight" ? [0, 2, 3, 1] : null;
  }
}

/** Transposed two-dimensional convolution, channels last. Held as `[out, kh, kw, in]`, in files `[in, out, kh, kw]`. */
export class ConvTranspose2d extends Module {
  weight: MxArray;
  bias: MxArray | null;
  readonly stride: number;
  readonly padding: number;

  constructor(inChannels: number, outChannels: number, options: ConvOptions) {
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
   * Where the patches of neighbouring inputs do not overlap, the whole is one matrix product. On the CPU that is BLAS,
   * a hundred times as fast as MLX's loops.
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
