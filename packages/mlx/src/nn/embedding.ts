import { astype, dequantize, take } from "../ops.js";
import type { MxArray } from "../types.js";
import { MatrixLayer } from "./matrix.js";

/** A table of vectors, `weight [count, dims]` dense or quantized. */
export class Embedding extends MatrixLayer {
  /** Integer ids `[...]` → `[..., dims]`. */
  forward(ids: MxArray): MxArray {
    const { quantized, quantization, dtype } = this;
    const taken = (rows: MxArray): MxArray => astype(take(rows, ids, 0), dtype);
    if (!quantized || !quantization) return taken(this.weight);
    const { weight, scales, biases } = quantized;
    return dequantize(
      { weight: take(weight, ids, 0), scales: taken(scales), biases: taken(biases) },
      quantization,
    );
  }
}
