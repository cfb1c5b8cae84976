/** Sums over samples of a linear map, which are all that a least-squares fit needs. */
export interface FitSums {
  /** The number of samples. */
  readonly rows: number;
  /** The number of the map's inputs. */
  readonly terms: number;
  /** The number of the map's results. */
  readonly results: number;
  /** `[terms, terms]`: products of inputs. */
  readonly products: Float64Array;
  /** `[terms, results]`: products of inputs and targets. */
  readonly sides: Float64Array;
}

/**
 * Adds up samples for {@link fitLinearMap}.
 * @param inputs rows of `terms` numbers
 * @param targets as many rows of `results` numbers
 */
export function fitSumsOf(
  inputs: Float64Array,
  targets: Float64Array,
  { terms, results }: Pick<FitSums, "terms" | "results">,
): FitSums {
  const rows = inputs.length / terms;
  const products = new Float64Array(terms * terms);
  const sides = new Float64Array(terms * results);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < terms; i++) {
      const value = inputs[row * terms + i]!;
      for (let j = 0; j < terms; j++) products[i * terms + j]! += value * inputs[row * terms + j]!;
      for (let j = 0; j < results; j++) sides[i * results + j]! += value * targets[row * results + j]!;
    }
  return { rows, terms, results, products, sides };
}

/**
 * Finds the linear map whose results are nearest to the targets of all samples, by the normal equations with a slight
 * preference for small coefficients.
 * @param sums of one set of samples or more, all of the same map.
 * @returns `[terms, results]`, row by row: a result is the sum of coefficients times terms
 */
export function fitLinearMap(sums: readonly [FitSums, ...FitSums[]]): Float64Array {
  const { terms, results } = sums[0];
  const rows = sums.reduce((sum, one) => sum + one.rows, 0);
  const products = total(sums.map((one) => one.products));
  const solution = total(sums.map((one) => one.sides));
  for (let i = 0; i < terms; i++) products[i * terms + i]! += 1e-3 * rows;
  solveInPlace(products, solution, terms, results);
  return solution;
}

/** The sum of vectors of equal length. */
const total = ([first = new Float64Array(), ...rest]: readonly Float64Array[]): Float64Array =>
  first.map((value, i) => rest.reduce((sum, one) => sum + one[i]!, value));

/** Solves `matrix · x = sides` by Cholesky's decomposition; `sides` becomes x. The matrix is symmetric and positive. */
function solveInPlace(matrix: Float64Array, sides: Float64Array, n: number, columns: number): void {
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= matrix[i * n + k]! * matrix[j * n + k]!;
      matrix[i * n + j] = i === j ? Math.sqrt(sum) : sum / matrix[j * n + j]!;
    }
  for (let c = 0; c < columns; c++) {
    for (let i = 0; i < n; i++) {
      let sum = sides[i * columns + c]!;
      for (let k = 0; k < i; k++) sum -= matrix[i * n + k]! * sides[k * columns + c]!;
      sides[i * columns + c] = sum / matrix[i * n + i]!;
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = sides[i * columns + c]!;
      for (let k = i + 1; k < n; k++) sum -= matrix[k * n + i]! * sides[k * columns + c]!;
      sides[i * columns + c] = sum / matrix[i * n + i]!;
    }
  }
}
