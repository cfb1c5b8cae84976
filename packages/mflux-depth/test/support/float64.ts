/*
 * Layers in double precision, in plain loops over numbers: a reference for the text encoders at sizes without golden
 * tensors. A matrix is a list of rows.
 */

export type Matrix = number[][];

export const matrix = (values: ArrayLike<number>, columns: number): Matrix =>
  Array.from({ length: values.length / columns }, (_, row) =>
    Array.from({ length: columns }, (_, column) => values[row * columns + column]!),
  );

export const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** `x weightᵀ + bias`. */
export const linear = (x: Matrix, weight: Matrix, bias?: readonly number[]): Matrix =>
  x.map((row) => weight.map((out, i) => dot(row, out) + (bias?.[i] ?? 0)));

export const plus = (a: Matrix, b: Matrix): Matrix => a.map((row, i) => row.map((v, j) => v + b[i]![j]!));

export const softmax = (scores: readonly number[]): number[] => {
  const top = Math.max(...scores);
  const exponentials = scores.map((score) => Math.exp(score - top));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
};

/**
 * Attention with `heads` heads, whose columns are next to each other.
 * @param score the score of a query and a key, computed from their product.
 */
export const attend = (
  [q, k, v]: readonly [Matrix, Matrix, Matrix],
  heads: number,
  score: (product: number, query: number, key: number, head: number) => number,
): Matrix => {
  const width = q[0]!.length / heads;
  return q.map((row, query) =>
    Array.from({ length: heads }, (_, head) => {
      const ofHead = (whole: readonly number[]): number[] => whole.slice(head * width, (head + 1) * width);
      const weights = softmax(
        k.map((other, key) => score(dot(ofHead(row), ofHead(other)), query, key, head)),
      );
      return ofHead(row).map((_, column) =>
        dot(
          weights,
          v.map((value) => ofHead(value)[column]!),
        ),
      );
    }).flat(),
  );
};

/** The error function by its Taylor series; exact enough for |x| < 5. */
export const erf = (x: number): number => {
  let term = x;
  let sum = x;
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
};
