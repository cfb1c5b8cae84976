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
 * From this many rows of `x` on, the CPU multiplies with the dequantized matrix: MLX's quantized product on the CPU is
 * a plain loop on one thread, the dense product is BLAS, and the cost of dequantizing does not depend on the rows.
 */
const rowsWorthDequantizing = 8;

/** Computes `x @ dequantize(q)ᵀ`: `x [..., in]`, `q [out, in]` → `[..., out]`. */
export function quantizedProduct(
  x: MxArray,
  q: QuantizedMatrix,
  quantization: Required<LayerQuantization>,
): MxArray {
  const features = x.shape.at(-1)!;
  const rows = x.size / features;
  if (defaultDevice() !== "cpu" || rows < rowsWorthDequantizing)
    return quantizedMatmul(x, q, { ...quantization, transpose: true });

  // Compute panels of output features one after another, so that the whole dense matrix never exists. MLX dequantizes
  // in several steps on the CPU, with up to four arrays of the size of the panel at once.
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
