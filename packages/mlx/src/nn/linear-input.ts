import { native } from "../load.js";
import { add, matmul, slice } from "../ops.js";
import type { MxArray } from "../types.js";
import { joined } from "./join.js";
import type { LayerQuantization } from "./module.js";

/**
 * An input shared by several Linear layers, so it is rounded once, or an input in parts that lie side by side on the
 * last axis, so they need not be joined: layers that multiply integers round the parts where they lie.
 */
export class LinearInput {
  readonly parts: readonly MxArray[];
  #whole: MxArray | undefined;
  readonly #rounded = new Map<string, MxArray>();

  /** @param parts at least one, `[..., in of the part]`; their shapes agree except for the last axis */
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

  /**
   * `x @ matrix` with `matrix [in, n]` → `[..., n]`: the sum of the products of the parts, which need not be joined for
   * it.
   */
  times(matrix: MxArray): MxArray {
    if (this.parts.length === 1) return matmul(this.whole, matrix);
    const products: MxArray[] = [];
    let from = 0;
    for (const part of this.parts) {
      const to = from + part.shape.at(-1)!;
      products.push(matmul(part, slice(matrix, [[from, to]])));
      from = to;
    }
    return products.reduce((sum, product) => add(sum, product));
  }

  /** The input in the form that `fusedIntegerLinear` takes for matrices of this quantization. */
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
