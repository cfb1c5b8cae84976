import type { MxArray } from "../array.js";
import { dequantize, take } from "../ops.js";
import { MatrixLayer } from "./matrix.js";

/** A table of vectors, `weight [count, dims]` dense or quantized. */
export class Embedding extends MatrixLayer {
  /** Integer ids `[...]` → `[..., dims]`. */
  forward(ids: MxArray): MxArray {
    const { quantized, quantization } = this;
    if (!quantized || !quantization) return take(this.weight, ids, 0);
    const { weight, scales, biases } = quantized;
    return dequantize(
      { weight: take(weight, ids, 0), scales: take(scales, ids, 0), biases: take(biases, ids, 0) },
      quantization,
    );
  }
}
