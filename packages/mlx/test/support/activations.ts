/** The error function in double precision: its power series near 0, the continued fraction of erfc further out. */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 200; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (x + fraction);
  return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** The activations in double precision, by name. */
export const formulas = {
  silu: (x: number) => x / (1 + Math.exp(-x)),
  quickGelu: (x: number) => x / (1 + Math.exp(-1.702 * x)),
  gelu: (x: number) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  geluTanh: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
} as const;
