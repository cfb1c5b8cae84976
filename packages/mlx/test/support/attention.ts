import { type MxArray, random } from "../../src/index.js";
import { numbers } from "./fused.js";

/** Computes `softmax(0.3 q kᵀ + mask(batch, head, query, key)) v`, `[batch, queries, heads · dims]`. */
export function attended(
  [q, k, v]: readonly [MxArray, MxArray, MxArray],
  mask: (batch: number, head: number, query: number, key: number) => number = () => 0,
): number[] {
  const [batch, heads, queries, dims] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  const [qs, ks, vs] = [numbers(q), numbers(k), numbers(v)];
  const expected = new Array<number>(batch * queries * heads * dims);
  for (let b = 0; b < batch; b++)
    for (let head = 0; head < heads; head++) {
      const rows = (values: readonly number[], count: number): number[][] => {
        const start = (b * heads + head) * count;
        return Array.from({ length: count }, (_, at) =>
          values.slice((start + at) * dims, (start + at + 1) * dims),
        );
      };
      const [lefts, rights, contents] = [rows(qs, queries), rows(ks, keys), rows(vs, keys)];
      for (const [query, left] of lefts.entries()) {
        const scores = rights.map((right, key) => 0.3 * dot(left, right) + mask(b, head, query, key));
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const sum = weights.reduce((a, e) => a + e);
        const place = ((b * queries + query) * heads + head) * dims;
        expected.fill(0, place, place + dims);
        weights.forEach((weight, key) => {
          const content = contents[key]!;
          for (let i = 0; i < dims; i++) expected[place + i]! += (weight * content[i]!) / sum;
        });
      }
    }
  return expected;
}

function dot(left: readonly number[], right: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < left.length; i++) sum += left[i]! * right[i]!;
  return sum;
}

/**
 * Random q, k and v; sizes that fill no panel of queries (48, 24 or 16 by instruction set) or block of keys (96), fill
 * them exactly and exceed them by one, head sizes around a tile's rows (8 or fewer), and, with many heads, several
 * panels in one task.
 */
export const attentionOperands = (
  [
    [1, 1, 1, 1, 1],
    [2, 3, 5, 9, 8],
    [1, 1, 48, 96, 7],
    [1, 2, 49, 97, 13],
    [1, 1, 47, 95, 130],
    [1, 16, 100, 193, 16],
    [1, 2, 131, 1029, 20],
  ] as const
).map(([batch, heads, queries, keys, dims]) => {
  // Scores of a deviation of 2.
  const scale = Math.sqrt(2 / 0.3 / Math.sqrt(dims));
  const tokens = (count: number, seed: number, scale = 1): MxArray =>
    random.normal([batch, heads, count, dims], { key: random.key(seed), scale });
  return [tokens(queries, 1, scale), tokens(keys, 2, scale), tokens(keys, 3)] as const;
});
