import { MlxError } from "../errors.js";
import type { MxArray } from "../types.js";
import { isFloating } from "./floating.js";

/**
 * A low-rank addition to a {@link Linear} layer: `x` → `scale · B(A x)`.
 * Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models (2021).
 *
 * Owns its arrays. {@link Linear.attach} hands it to a layer, which disposes it together with its parameters;
 * {@link Linear.detach} hands it back.
 */
export class Adapter {
  /** `A [rank, in]`. */
  readonly a: MxArray;
  /** `B [out, rank]`. */
  readonly b: MxArray;
  /** Strength of the addition, of either sign. May change between forward passes; 0 costs nothing. */
  scale: number;

  /**
   * @param a `[rank, in]`, of a floating dtype
   * @param b `[out, rank]`, of a floating dtype
   * @throws {MlxError} when the shapes do not share a rank, or a dtype is not floating.
   */
  constructor(a: MxArray, b: MxArray, scale = 1) {
    const sharesRank = a.ndim === 2 && b.ndim === 2 && a.shape[0] === b.shape[1] && a.shape[0] !== 0;
    if (!sharesRank)
      throw new MlxError(
        "Adapter",
        `a [${a.shape}] and b [${b.shape}] do not share a rank; expected a [rank, in] and b [out, rank]`,
      );
    if (!isFloating(a.dtype) || !isFloating(b.dtype))
      throw new MlxError("Adapter", `a is ${a.dtype} and b is ${b.dtype}; expected floating dtypes`);
    this.a = a;
    this.b = b;
    this.scale = scale;
  }

  get rank(): number {
    return this.a.shape[0]!;
  }

  /** Releases both arrays. Idempotent. */
  dispose(): void {
    this.a.dispose();
    this.b.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
