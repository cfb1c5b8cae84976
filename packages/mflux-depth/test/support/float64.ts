/*
 * Layers in plain loops over numbers, in double precision: what the text encoders are compared with at sizes that no
 * golden tensor has. A matrix is a list of rows.
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
 * Attention of `heads` heads that lie side by side in the columns.
 * @param score of a query and a key, from their product.
 */
export const attend = (
  [q, k, v]: readonly [Matrix, Matrix, Matrix],
  heads: number,
  score: (product: number, query: number, key: number, head: number) => number,
): Matrix => {
  const width = q[0]!.length / heads;
  return q.map((row, query) =>
    Array.from({ length: heads }, (_, head) => {
      const part = (whole: readonly number[]): number[] => whole.slice(head * width, (head + 1) * width);
      const weights = softmax(k.map((other, key) => score(dot(part(row), part(other)), query, key, head)));
      return part(row).map((_, column) =>
        dot(
          weights,
          v.map((value) => part(value)[column]!),
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
