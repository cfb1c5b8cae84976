import { native } from "../load.js";
import { add, matmul, slice } from "../ops.js";
import type { MxArray } from "../types.js";
import { joined } from "./join.js";
import type { LayerQuantization } from "./module.js";

/**
 * An input shared by several Linear layers, so it is rounded once; or as chunks along the last axis, which integer layers
 * round in place instead of concatenating.
 */
export class LinearInput {
  readonly chunks: readonly MxArray[];
  #whole: MxArray | undefined;
  readonly #rounded = new Map<string, MxArray>();

  /** @param chunks at least one, `[..., in of the chunk]`; their shapes agree except for the last axis */
  constructor(...chunks: [MxArray, ...MxArray[]]) {
    this.chunks = chunks;
  }

  /** `[..., in]`. */
  get shape(): number[] {
    const inputs = this.chunks.reduce((sum, { shape }) => sum + shape.at(-1)!, 0);
    return [...this.chunks[0]!.shape.slice(0, -1), inputs];
  }

  /** The chunks as one array, `[..., in]`. */
  get whole(): MxArray {
    this.#whole ??= this.chunks.length === 1 ? this.chunks[0]! : joined(this.chunks, -1);
    return this.#whole;
  }

  /**
   * `x @ matrix` with `matrix [in, n]` → `[..., n]`: the sum of the products of the chunks, without joining them.
   */
  times(matrix: MxArray): MxArray {
    if (this.chunks.length === 1) return matmul(this.whole, matrix);
    const products: MxArray[] = [];
    let from = 0;
    for (const chunk of this.chunks) {
      const to = from + chunk.shape.at(-1)!;
      products.push(matmul(chunk, slice(matrix, [[from, to]])));
      from = to;
    }
    return products.reduce((sum, product) => add(sum, product));
  }

  /** The input in the form that `fusedIntegerLinear` takes for matrices of this quantization. */
  rounded({ groupSize, bits }: Required<LayerQuantization>): MxArray {
    const key = `${groupSize} ${bits}`;
    let rounded = this.#rounded.get(key);
    if (!rounded) {
      const fits = this.chunks.every(({ shape }) => shape.at(-1)! % groupSize === 0);
      rounded = native.fusedRoundInputs(fits ? [...this.chunks] : [this.whole], groupSize, bits);
      this.#rounded.set(key, rounded);
    }
    return rounded;
  }
}
