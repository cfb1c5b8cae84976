import { defaultDevice } from "../device.js";
import { native } from "../load.js";
import {
  add,
  addmm,
  astype,
  type Bits,
  concatenate,
  dequantize,
  matmul,
  type QuantizedMatrix,
  quantizedMatmul,
  slice,
  transpose,
  zeros,
} from "../ops.js";
import type { MxArray } from "../types.js";
import { type Activation, activations } from "./activations.js";
import { joined } from "./join.js";
import { MatrixLayer } from "./matrix.js";
import type { LayerQuantization, Module } from "./module.js";
import { after, scratchBytes } from "./order.js";

/**
 * How quantized matrices are multiplied: "exact" with their values in the dtype of the input, or "int8" with the input
 * rounded to 8 bits, each group of each row by a scale of its own (7e-3 of the product, about what 8-bit weights lose),
 * which processors with integer products do in a fraction of the time.
 */
export type QuantizedProducts = "exact" | "int8";

/**
 * What several Linear layers take, so that work on it that they share is done once, or what one takes in parts that
 * stand side by side on the last axis, so that they need not be joined: where layers multiply integers, it is rounded
 * once from where the parts lie.
 */
export class LinearInput {
  readonly parts: readonly MxArray[];
  #whole: MxArray | undefined;
  readonly #rounded = new Map<string, MxArray>();

  /** `parts`: at least one, `[..., in of the part]`, of one shape but for the last axis. */
  constructor(...parts: [MxArray, ...MxArray[]]) {
    this.parts = parts;
  }

  /** `[..., in]`. */
  get shape(): number[] {
    const inputs = this.parts.reduce((sum, { shape }) => sum + shape.at(-1)!, 0);
    return [...this.parts[0]!.shape.slice(0, -1), inputs];
  }

  /** The parts as one array, `[..., in]`. */
  get whole(): MxArray {
    this.#whole ??= this.parts.length === 1 ? this.parts[0]! : joined(this.parts, -1);
    return this.#whole;
  }

  /** As `fusedIntegerLinear` takes it for matrices of so many bits. */
  rounded({ groupSize, bits }: Required<LayerQuantization>): MxArray {
    const key = `${groupSize} ${bits}`;
    let rounded = this.#rounded.get(key);
    if (!rounded) {
      const fits = this.parts.every(({ shape }) => shape.at(-1)! % groupSize === 0);
      rounded = native.fusedRoundInputs(fits ? [...this.parts] : [this.whole], groupSize, bits);
      this.#rounded.set(key, rounded);
    }
    return rounded;
  }
}

/**
 * `y = x Wᵀ + b`, with `weight [out, in]` dense or quantized. On a Linux CPU a matrix of 16 bits, and scales and biases
 * of 16 bits, are widened in the multiplication with a float32 `x`.
 */
export class Linear extends MatrixLayer {
  bias: MxArray | null;
  /** "int8" acts on quantized weights where {@link canMultiplyIntegers} says so, and outside of gradients. */
  products: QuantizedProducts = "exact";

  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super(outFeatures, inFeatures);
    this.bias = (options.bias ?? true) ? zeros([outFeatures]) : null;
  }

  /** `[..., in]` → `[..., out]`, through the activation if one is named: in the same pass where the layer is fused. */
  forward(x: MxArray | LinearInput, activation?: Activation): MxArray {
    const input = x instanceof LinearInput ? x : new LinearInput(x);
    const fused = this.#fused(input, activation);
    if (fused) return fused;
    const product = this.#product(input.whole);
    return activation ? activations[activation](product) : product;
  }

  /** What the fused operations of a Linux CPU give, where they apply. */
  #fused(input: LinearInput, activation: Activation | null = null): MxArray | null {
    const { quantized, quantization, bias } = this;
    if (!input.parts.every(native.fusible) || (bias && !native.fusible(bias))) return null;
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

/**
 * Whether this machine multiplies matrices of so many bits as integers: a Linux CPU with AVX-512 VNNI or AVX-VNNI, or
 * with AVX2 up to 6 bits (8 would be no faster than exact products, and are multiplied so).
 */
export const canMultiplyIntegers = (bits: Bits = 4): boolean => native.multipliesIntegers(bits);

/** Sets how all Linear layers of a module multiply quantized matrices. */
export function setQuantizedProducts(module: Module, products: QuantizedProducts): void {
  for (const [, layer] of module.modules()) if (layer instanceof Linear) layer.products = products;
}

/**
 * From this many rows of `x` on, the CPU multiplies with the dequantized matrix: MLX's quantized product is plain
 * loops on one thread there, the dense one is BLAS, and dequantizing costs the same for any number of rows.
 */
const rowsWorthDequantizing = 8;

/** `x @ dequantize(q)ᵀ`. */
export function quantizedProduct(
  x: MxArray,
  q: QuantizedMatrix,
  quantization: Required<LayerQuantization>,
): MxArray {
  const features = x.shape.at(-1)!;
  const rows = x.size / features;
  if (defaultDevice() !== "cpu" || rows < rowsWorthDequantizing)
    return quantizedMatmul(x, q, { ...quantization, transpose: true });

  // Panels of output features, one after another, so that the dense matrix never exists as a whole. MLX dequantizes
  // in several steps on the CPU, with up to four arrays of the panel's size at once.
  const outputs = q.scales.shape[0]!;
  const panel = Math.max(1, Math.floor(scratchBytes / (4 * 4 * features)));
  const products: MxArray[] = [];
  for (let start = 0; start < outputs; start += panel) {
    const part = (a: MxArray): MxArray => slice(a, [[start, Math.min(start + panel, outputs)]]);
    const previous = products.at(-1);
    const scales = part(q.scales);
    const matrix = dequantize(
      { weight: part(q.weight), scales: previous ? after(scales, previous) : scales, biases: part(q.biases) },
      quantization,
    );
    products.push(matmul(x, transpose(matrix)));
  }
  return products.length === 1 ? products[0]! : concatenate(products, -1);
}
