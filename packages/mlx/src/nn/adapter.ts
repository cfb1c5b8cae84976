import { add, astype, multiply, reshape, subtract, zeros } from "../ops.js";
import type { DType, MxArray } from "../types.js";
import type { Delta } from "./delta.js";
import { castTo } from "./floating.js";
import { LinearInput } from "./linear-input.js";

/**
 * The strength of adapters, positive or negative, which several adapters may share. Change it only between forward
 * passes.
 */
export interface Dial {
  scale: number;
}

/**
 * The factors by which DoRA multiplies the rows or the columns of an adapted matrix `W + D`.
 * (Liu et al.: DoRA: Weight-Decomposed Low-Rank Adaptation, 2024.)
 */
export interface Gain {
  readonly axis: "rows" | "columns";
  /** `[out]` for rows, `[in]` for columns. */
  readonly values: MxArray;
}

export interface AdapterOptions {
  /** The strength, or a dial that other adapters share (default 1). */
  readonly scale?: number | Dial;
  /** An addition to the layer's bias, `[out]`. */
  readonly bias?: MxArray | null;
  readonly gain?: Gain | null;
}

/** The layer that an adapter belongs to, during one forward pass without adapters. */
export interface AdaptedLayer {
  /** The dtype that it computes in. */
  readonly dtype: DType;
  readonly bias: MxArray | null;
  /** `W x + b`. */
  readonly plain: MxArray;
  /** `W x + b` of another input. */
  readonly forward: (input: LinearInput) => MxArray;
}

/**
 * A change to a {@link Linear} layer that does not modify its weight: `y` → `y + scale · (D x + bias)`. With gains `g`,
 * the matrix `W + scale · (g ∘ (W + D) − W)` replaces `W + scale · D`.
 *
 * Owns its arrays. {@link Linear.attach} hands it to a layer, which disposes it together with its parameters;
 * {@link Linear.detach} hands it back.
 */
export class Adapter {
  /** Null if only the bias changes. */
  readonly delta: Delta | null;
  readonly bias: MxArray | null;
  readonly gain: Gain | null;
  readonly dial: Dial;

  constructor(delta: Delta | null, { scale = 1, bias = null, gain = null }: AdapterOptions = {}) {
    this.delta = delta;
    this.bias = bias;
    this.gain = gain;
    this.dial = typeof scale === "number" ? { scale } : scale;
  }

  /** The strength. At 0, the adapter costs nothing. */
  get scale(): number {
    return this.dial.scale;
  }

  set scale(scale: number) {
    this.dial.scale = scale;
  }

  /** Adds the change to `y [..., out]`. */
  addTo(y: MxArray, input: LinearInput, layer: AdaptedLayer): MxArray {
    const { delta, bias, gain, scale } = this;
    const { dtype } = layer;
    const sum = bias ? add(y, multiply(castTo(dtype, bias), scale)) : y;
    if (gain) return add(sum, multiply(this.#gained(gain, input, layer), scale));
    return delta ? delta.addTo(sum, input, scale, dtype) : sum;
  }

  /** `(g ∘ (W + D) − W) x`. */
  #gained({ axis, values }: Gain, input: LinearInput, layer: AdaptedLayer): MxArray {
    const { dtype, plain, bias } = layer;
    const gains = castTo(dtype, values);
    if (axis === "rows") {
      const product = bias ? subtract(plain, castTo(dtype, bias)) : plain;
      const change = multiply(product, subtract(gains, 1));
      return this.delta ? add(change, multiply(this.delta.apply(input, dtype), gains)) : change;
    }
    const scaled = new LinearInput(multiply(input.whole, gains));
    const change = subtract(layer.forward(scaled), plain);
    return this.delta ? add(change, this.delta.apply(scaled, dtype)) : change;
  }

  /**
   * What this adds to a weight `[out, in]` at its strength, as a matrix in float32: `scale · D`, or with gains
   * `scale · (g ∘ (W + D) − W)`.
   */
  change(weight: MxArray): MxArray {
    const { delta, gain, scale } = this;
    const dense = delta ? astype(delta.dense(), "float32") : zeros(weight.shape);
    if (!gain) return multiply(dense, scale);
    const values = astype(gain.values, "float32");
    const gains = reshape(values, gain.axis === "rows" ? [-1, 1] : [1, -1]);
    return multiply(subtract(multiply(gains, add(weight, dense)), weight), scale);
  }

  /** Bytes of all arrays. */
  get nbytes(): number {
    return this.#arrays.reduce((sum, { nbytes }) => sum + nbytes, 0);
  }

  /** Releases all arrays. Idempotent. */
  dispose(): void {
    for (const array of this.#arrays) array.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get #arrays(): readonly MxArray[] {
    const { delta, bias, gain } = this;
    return [...(delta?.arrays ?? []), ...(bias ? [bias] : []), ...(gain ? [gain.values] : [])];
  }
}
