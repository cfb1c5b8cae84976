import { MlxError } from "../errors.js";
import { native } from "../load.js";
import { add, addmm, astype, type Bits, matmul, transpose, zeros } from "../ops.js";
import type { MxArray } from "../types.js";
import { type Activation, activations } from "./activations.js";
import type { Adapter } from "./adapter.js";
import { LinearInput } from "./linear-input.js";
import { MatrixLayer } from "./matrix.js";
import type { Module } from "./module.js";
import { quantizedProduct } from "./quantized-product.js";

/**
 * How quantized matrices are multiplied. "exact" multiplies their values in the dtype of the input. "int8" rounds the
 * input to 8 bits, with a scale for each group of each row; this changes the product by 7e-3, about as much as 8-bit
 * weights do, and takes a fraction of the time on processors with integer products.
 */
export type QuantizedProducts = "exact" | "int8";

/**
 * `y = act(W x + b + Σ scaleᵢ · Δᵢ(x))`, with `weight [out, in]` dense or quantized and any number of adapters. Their
 * additions `Δᵢ` take the unrounded `x` and are computed in the dtype of the layer. On a Linux CPU, 16-bit matrices
 * (and 16-bit scales and biases) are widened inside the multiplication with a float32 `x`.
 */
export class Linear extends MatrixLayer {
  bias: MxArray | null;
  /** "int8" applies to quantized weights where {@link canMultiplyIntegers} allows it, outside gradients. */
  products: QuantizedProducts = "exact";
  // A plain property, so that a scope keeps the arrays of a layer that it returns.
  private attached: readonly Adapter[] = [];

  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super(outFeatures, inFeatures);
    this.bias = (options.bias ?? true) ? zeros([outFeatures]) : null;
  }

  /** The attached adapters, in the order of their attachment. They are not parameters: files never hold them. */
  get adapters(): readonly Adapter[] {
    return this.attached;
  }

  /**
   * Adds an adapter to every following forward pass and takes ownership of it: disposing this layer also disposes the
   * adapter. An adapter belongs to one layer.
   * @throws {MlxError} when its shapes do not fit the weight, or it is already attached.
   */
  attach(adapter: Adapter): void {
    this.#requireFit(adapter);
    if (owned.has(adapter)) throw new MlxError("attach", "the adapter is attached already; detach it first");
    owned.add(adapter);
    this.attached = [...this.attached, adapter];
  }

  /**
   * Removes an adapter and hands its ownership back to the caller.
   * @throws {MlxError} when it is not attached to this layer.
   */
  detach(adapter: Adapter): void {
    if (!this.attached.includes(adapter))
      throw new MlxError("detach", "the adapter is not attached to this layer");
    owned.delete(adapter);
    this.attached = this.attached.filter((one) => one !== adapter);
  }

  /**
   * `[..., in]` → `[..., out]`, followed by the activation if one is named (in the same pass where the layer is fused).
   */
  forward(x: MxArray | LinearInput, activation?: Activation): MxArray {
    const input = x instanceof LinearInput ? x : new LinearInput(x);
    const active = this.attached.filter(({ scale }) => scale !== 0);
    if (active.length === 0) return this.#plain(input, activation);
    const plain = this.#plain(input);
    const layer = {
      dtype: this.dtype,
      bias: this.bias,
      plain,
      forward: (other: LinearInput) => this.#plain(other),
    };
    const sum = active.reduce((y, adapter) => adapter.addTo(y, input, layer), plain);
    return activation ? activations[activation](sum) : sum;
  }

  protected override release(): void {
    super.release();
    for (const adapter of this.attached) adapter.dispose();
  }

  /** `act(W x + b)`, without adapters. */
  #plain(input: LinearInput, activation?: Activation): MxArray {
    const fused = this.#fused(input, activation);
    if (fused) return fused;
    const product = this.#product(input.whole);
    return activation ? activations[activation](product) : product;
  }

  /** @throws {MlxError} when the arrays of an adapter do not fit the weight. */
  #requireFit({ delta, bias, gain }: Adapter): void {
    const { rows, columns } = this;
    const refuse = (what: string, expected: string): never => {
      throw new MlxError(
        "attach",
        `${what} does not fit a weight of [${rows},${columns}]; expected ${expected}`,
      );
    };
    if (delta && (delta.rows !== rows || delta.columns !== columns))
      refuse(`a change of [${delta.rows},${delta.columns}]`, `[${rows},${columns}]`);
    if (bias && (bias.ndim !== 1 || bias.size !== rows)) refuse(`a bias of [${bias.shape}]`, `[${rows}]`);
    if (!gain) return;
    const { axis, values } = gain;
    const length = axis === "rows" ? rows : columns;
    if (values.ndim !== 1 || values.size !== length)
      refuse(`a gain of [${values.shape}] for ${axis}`, `[${length}]`);
  }

  /** `act(W x + b)` by the fused operations of a Linux CPU; null if they do not apply. */
  #fused(input: LinearInput, activation: Activation | null = null): MxArray | null {
    const { quantized, quantization, bias } = this;
    if (!input.chunks.every(native.fusible) || (bias && !native.fusible(bias))) return null;
    if (!quantized || !quantization)
      return this.weight.dtype !== "float32" && native.fusibleWeight(this.weight)
        ? native.fusedLinear(input.whole, this.weight, bias, activation)
        : null;
    if (!native.fusibleWeight(quantized.scales)) return null;
    const { weight, scales, biases } = quantized;
    const { groupSize, bits } = quantization;
    const matrix = [weight, scales, biases, bias, groupSize, bits, activation] as const;
    return this.products === "int8" && canMultiplyIntegers(bits)
      ? native.fusedIntegerLinear(input.rounded(quantization), input.shape, ...matrix)
      : native.fusedQuantizedLinear(input.whole, ...matrix);
  }

  /** `W x + b` by MLX's operations. */
  #product(x: MxArray): MxArray {
    const { quantized, quantization, bias } = this;
    if (!quantized || !quantization) {
      const weight = transpose(this.weight);
      return bias ? addmm(bias, x, weight) : matmul(x, weight);
    }
    const { weight, scales, biases } = quantized;
    const inDtype = { weight, scales: astype(scales, this.dtype), biases: astype(biases, this.dtype) };
    const product = quantizedProduct(x, inDtype, quantization);
    return bias ? add(product, bias) : product;
  }
}

/** All attached adapters, each of which belongs to one layer. */
const owned = new WeakSet<Adapter>();

/**
 * Whether this machine multiplies matrices of this many bits as integers: a Linux CPU with AVX-512 VNNI or AVX-VNNI, or
 * with AVX2 up to 6 bits (at 8 bits exact products are as fast, so those are used).
 */
export const canMultiplyIntegers = (bits: Bits = 4): boolean => native.multipliesIntegers(bits);

/** Sets the products of all Linear layers of a module. */
export function setQuantizedProducts(module: Module, products: QuantizedProducts): void {
  for (const [, layer] of module.modules()) if (layer instanceof Linear) layer.products = products;
}
