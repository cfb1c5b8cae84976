import { defaultDevice } from "../device.js";
import {
  concatenate,
  dequantize,
  matmul,
  type QuantizedMatrix,
  quantizedMatmul,
  slice,
  transpose,
} from "../ops.js";
import type { MxArray } from "../types.js";
import type { LayerQuantization } from "./module.js";
import { after, scratchBytes } from "./order.js";

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
