import { MlxError } from "../errors.js";
import { add, addmm, matmul, multiply, reshape, slice, swapaxes, transpose } from "../ops.js";
import type { DType, MxArray } from "../types.js";
import { castTo, isFloating } from "./floating.js";
import type { LinearInput } from "./linear-input.js";

/**
 * An addition `D [rows, columns]` to the matrix of a {@link Linear} layer, in a form that is smaller than the matrix.
 * Owns its arrays, which are plain properties.
 */
export abstract class Delta {
  abstract readonly rows: number;
  abstract readonly columns: number;

  /** `D x` in `dtype`: `[..., columns]` → `[..., rows]`. */
  abstract apply(input: LinearInput, dtype: DType): MxArray;

  /** `D` as one matrix, in the dtype of its arrays. */
  abstract dense(): MxArray;

  /** The arrays that this holds. */
  abstract get arrays(): readonly MxArray[];

  /** `y + scale · D x` in `dtype`, with `y [..., rows]`. */
  addTo(y: MxArray, input: LinearInput, scale: number, dtype: DType): MxArray {
    return add(y, multiply(this.apply(input, dtype), scale));
  }

  /** Releases the arrays. Idempotent. */
  dispose(): void {
    for (const array of this.arrays) array.dispose();
  }
}

/** `D = factor · B A`. Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models (2021). */
export class LowRank extends Delta {
  /** `A [rank, columns]`. */
  readonly a: MxArray;
  /** `B [rows, rank]`. */
  readonly b: MxArray;
  readonly factor: number;

  /**
   * @param a `[rank, columns]`, of a floating dtype
   * @param b `[rows, rank]`, of a floating dtype
   * @throws {MlxError} when the shapes do not share a rank, or a dtype is not floating.
   */
  constructor(a: MxArray, b: MxArray, factor = 1) {
    super();
    const sharesRank = a.ndim === 2 && b.ndim === 2 && a.shape[0] === b.shape[1] && a.shape[0] !== 0;
    if (!sharesRank)
      throw new MlxError(
        "LowRank",
        `a [${a.shape}] and b [${b.shape}] do not share a rank; expected a [rank, in] and b [out, rank]`,
      );
    requireFloating("LowRank", { a, b });
    this.a = a;
    this.b = b;
    this.factor = factor;
  }

  get rank(): number {
    return this.a.shape[0]!;
  }

  get rows(): number {
    return this.b.shape[0]!;
  }

  get columns(): number {
    return this.a.shape[1]!;
  }

  get arrays(): readonly MxArray[] {
    return [this.a, this.b];
  }

  apply(input: LinearInput, dtype: DType): MxArray {
    const { down, up } = this.#transposed(dtype);
    return matmul(multiply(input.times(down), this.factor), up);
  }

  override addTo(y: MxArray, input: LinearInput, scale: number, dtype: DType): MxArray {
    const { down, up } = this.#transposed(dtype);
    return addmm(y, input.times(down), up, { alpha: scale * this.factor });
  }

  dense(): MxArray {
    return multiply(matmul(this.b, this.a), this.factor);
  }

  #transposed(dtype: DType): { down: MxArray; up: MxArray } {
    return { down: transpose(castTo(dtype, this.a)), up: transpose(castTo(dtype, this.b)) };
  }
}

/**
 * `D = factor · L ⊗ R`, or neighbouring rows of it. (LyCORIS: LoKr; Edalati et al.: KronA, 2022.)
 */
export class Kronecker extends Delta {
  /** `L [l, n]`: the rows of the left factor that the rows of `D` need. */
  readonly left: MxArray;
  /** `R [r, m]`. */
  readonly right: MxArray;
  readonly factor: number;
  readonly rows: number;
  /** Rows of `L ⊗ R` before the first row of `D`. */
  private readonly skipped: number;

  /**
   * @param range the rows of the product that belong to `D` (default: all)
   * @throws {MlxError} when a factor is not a matrix of a floating dtype.
   */
  constructor(
    left: MxArray,
    right: MxArray,
    { factor = 1, range }: { factor?: number; range?: readonly [from: number, to: number] } = {},
  ) {
    super();
    if (left.ndim !== 2 || right.ndim !== 2)
      throw new MlxError("Kronecker", `expected two matrices, not [${left.shape}] and [${right.shape}]`);
    requireFloating("Kronecker", { left, right });
    const height = right.shape[0]!;
    const [from, to] = range ?? [0, left.shape[0]! * height];
    const first = Math.floor(from / height);
    this.left = slice(left, [[first, Math.ceil(to / height)]]);
    this.right = right;
    this.factor = factor;
    this.rows = to - from;
    this.skipped = from - first * height;
  }

  get columns(): number {
    return this.left.shape[1]! * this.right.shape[1]!;
  }

  get arrays(): readonly MxArray[] {
    return [this.left, this.right];
  }

  /** `x` as a matrix `X [n, m]` gives `L X Rᵀ`. */
  apply(input: LinearInput, dtype: DType): MxArray {
    const x = input.whole;
    const [left, right] = [castTo(dtype, this.left), castTo(dtype, this.right)];
    const [l, n] = left.shape as [number, number];
    const [r, m] = right.shape as [number, number];
    const byRight = matmul(reshape(multiply(x, this.factor), [-1, m]), transpose(right));
    const columnsLast = reshape(swapaxes(reshape(byRight, [-1, n, r]), 1, 2), [-1, n]);
    const byLeft = reshape(matmul(columnsLast, transpose(left)), [-1, r, l]);
    const product = reshape(swapaxes(byLeft, 1, 2), [-1, l * r]);
    return reshape(this.#cut(product, 1), [...x.shape.slice(0, -1), this.rows]);
  }

  dense(): MxArray {
    const [l, n] = this.left.shape as [number, number];
    const [r, m] = this.right.shape as [number, number];
    const products = multiply(reshape(this.left, [l, 1, n, 1]), reshape(this.right, [1, r, 1, m]));
    return multiply(this.#cut(reshape(products, [l * r, n * m]), 0), this.factor);
  }

  /** Cuts the rows of `D` from those of the whole product along an axis. */
  #cut(product: MxArray, axis: 0 | 1): MxArray {
    const range: [number, number] = [this.skipped, this.skipped + this.rows];
    return slice(product, axis === 0 ? [range] : [null, range]);
  }
}

/** `D` as a full matrix, for additions without a smaller form. */
export class WholeDelta extends Delta {
  readonly weight: MxArray;

  /** @throws {MlxError} when `weight` is not a matrix of a floating dtype. */
  constructor(weight: MxArray) {
    super();
    if (weight.ndim !== 2)
      throw new MlxError("WholeDelta", `expected a matrix [out, in], not [${weight.shape}]`);
    requireFloating("WholeDelta", { weight });
    this.weight = weight;
  }

  get rows(): number {
    return this.weight.shape[0]!;
  }

  get columns(): number {
    return this.weight.shape[1]!;
  }

  get arrays(): readonly MxArray[] {
    return [this.weight];
  }

  apply(input: LinearInput, dtype: DType): MxArray {
    return input.times(transpose(castTo(dtype, this.weight)));
  }

  dense(): MxArray {
    return multiply(this.weight, 1);
  }
}

function requireFloating(where: string, arrays: Readonly<Record<string, MxArray>>): void {
  if (Object.values(arrays).every(({ dtype }) => isFloating(dtype))) return;
  const found = Object.entries(arrays).map(([name, { dtype }]) => `${name} is ${dtype}`);
  throw new MlxError(where, `${found.join(" and ")}; expected floating dtypes`);
}
