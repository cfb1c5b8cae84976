import * as mx from "../../src/index.js";
import { fast } from "../../src/index.js";
import { close, refuses } from "../support/assertions.js";
import { at, build, type Dense, fold, layouts, noise, permute, toArray } from "../support/dense.js";
import { product } from "./linear.js";

/** Computes softmax attention in doubles, adding `bias(position)` to each score. */
function attend(
  q: Dense,
  k: Dense,
  v: Dense,
  scale: number,
  bias: (index: number[]) => number = () => 0,
): Dense {
  const repeats = q.shape[1]! / k.shape[1]!;
  const shared = (d: Dense): Dense =>
    build([d.shape[0]!, q.shape[1]!, d.shape[2]!, d.shape[3]!], ([b, h, t, c]) =>
      at(d, [b!, Math.floor(h! / repeats), t!, c!]),
    );
  const scores = product(q, permute(shared(k), [0, 1, 3, 2]));
  const powers = build(scores.shape, (i) => Math.exp(scale * at(scores, i) + bias(i)));
  const sums = fold(powers, [3], true, (values) => values.reduce((a, b) => a + b, 0));
  return product(
    build(powers.shape, (i) => at(powers, i) / at(sums, i)),
    shared(v),
  );
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Rotates pairs by `position / base^(2i / dims)`; the rest of the axis is unchanged. */
function rotate(
  x: Dense,
  dims: number,
  o: { traditional?: boolean; base?: number; scale?: number; offset?: number; freqs?: number[] } = {},
): Dense {
  const half = dims / 2;
  return build(x.shape, (index) => {
    const channel = index.at(-1)!;
    if (channel >= dims) return at(x, index);
    const pair = o.traditional ? channel >> 1 : channel % half;
    const second = o.traditional ? channel % 2 === 1 : channel >= half;
    const [c1, c2] = o.traditional ? [2 * pair, 2 * pair + 1] : [pair, pair + half];
    const period = o.freqs?.[pair] ?? (o.base ?? 10000) ** ((2 * pair) / dims);
    const angle = ((index.at(-2)! + (o.offset ?? 0)) * (o.scale ?? 1)) / period;
    const [a, b] = [at(x, index.with(-1, c1)), at(x, index.with(-1, c2))];
    return second ? a * Math.sin(angle) + b * Math.cos(angle) : a * Math.cos(angle) - b * Math.sin(angle);
  });
}

export const fastOperations: Record<string, () => void> = {
  scaledDotProductAttention() {
    const scale = 0.4;
    const [q, k, v] = [noise([2, 4, 5, 8], 120), noise([2, 4, 7, 8], 121), noise([2, 4, 7, 8], 122)];
    for (const [layout, x] of layouts(q))
      close(
        fast.scaledDotProductAttention(x, toArray(k), toArray(v), { scale }),
        attend(q, k, v, scale),
        2e-6,
        layout,
      );
    // In the layout of projections: [batch, tokens, heads, channels] with two axes exchanged.
    const exchanged = (d: Dense): mx.MxArray => mx.swapaxes(toArray(permute(d, [0, 2, 1, 3])), 1, 2);
    close(
      fast.scaledDotProductAttention(exchanged(q), exchanged(k), exchanged(v), { scale }),
      attend(q, k, v, scale),
      2e-6,
      "exchanged",
    );
    const bias = noise([5, 7], 123, -2, 2);
    close(
      fast.scaledDotProductAttention(toArray(q), toArray(k), toArray(v), { scale, mask: toArray(bias) }),
      attend(q, k, v, scale, (i) => at(bias, i.slice(2))),
      2e-6,
      "additive mask",
    );
    const seen = build([2, 1, 5, 7], ([b, , i, j]) => Number((b! + i! + j!) % 3 !== 0));
    close(
      fast.scaledDotProductAttention(toArray(q), toArray(k), toArray(v), {
        scale,
        mask: toArray(seen, "bool"),
      }),
      attend(q, k, v, scale, ([b, , i, j]) => (at(seen, [b!, 0, i!, j!]) ? 0 : -Infinity)),
      2e-6,
      "boolean mask",
    );
    // Causal with more keys than queries: the last query sees all keys.
    close(
      fast.scaledDotProductAttention(toArray(q), toArray(k), toArray(v), { scale, mask: "causal" }),
      attend(q, k, v, scale, ([, , i, j]) => (j! <= i! + 2 ? 0 : -Infinity)),
      2e-6,
      "causal",
    );
    const [fewK, fewV] = [noise([2, 2, 7, 8], 124), noise([2, 2, 7, 8], 125)];
    close(
      fast.scaledDotProductAttention(toArray(q), toArray(fewK), toArray(fewV), { scale }),
      attend(q, fewK, fewV, scale),
      2e-6,
      "shared heads",
    );
    refuses(
      () =>
        fast.scaledDotProductAttention(mx.ones([1, 3, 4, 8]), mx.ones([1, 2, 4, 8]), mx.ones([1, 2, 4, 8]), {
          scale,
        }),
      "scaledDotProductAttention",
      "[1,3,4,8]",
      "[1,2,4,8]",
    );
    refuses(
      () => fast.scaledDotProductAttention(toArray(q), toArray(k), toArray(v), { scale, mask: mx.ones([3]) }),
      "scaledDotProductAttention",
      "[3]",
    );
    refuses(
      () =>
        fast.scaledDotProductAttention(mx.ones([1, 2, 4, 8]), mx.ones([1, 0, 4, 8]), mx.ones([1, 0, 4, 8]), {
          scale,
        }),
      "scaledDotProductAttention",
      "[1,0,4,8]",
    );
  },
  rmsNorm() {
    const weight = noise([6], 126);
    // At values near 1e-3 the eps matters.
    for (const [size, eps] of [
      [1, 1e-5],
      [1e-3, 1e-6],
    ] as const) {
      const x = noise([3, 4, 6], 127, -size, size);
      const squares = fold(x, [2], true, (values) => mean(values.map((v) => v * v)));
      const normal = build(x.shape, (i) => at(x, i) / Math.sqrt(at(squares, i) + eps));
      for (const [layout, a] of layouts(x)) {
        close(fast.rmsNorm(a, null, eps), normal, 2e-6, layout);
        close(
          fast.rmsNorm(a, toArray(weight), eps),
          build(x.shape, (i) => at(normal, i) * at(weight, i.slice(2))),
          2e-6,
          layout,
        );
      }
    }
    refuses(() => fast.rmsNorm(mx.ones([4]), mx.ones([3]), 1e-5), "rmsNorm", "[4]", "[3]");
  },
  layerNorm() {
    const [weight, bias] = [noise([6], 128), noise([6], 129)];
    for (const [size, eps] of [
      [1, 1e-5],
      [1e-3, 1e-6],
    ] as const) {
      const x = noise([3, 4, 6], 130, -size, size);
      const means = fold(x, [2], true, mean);
      const variances = fold(x, [2], true, (values) => mean(values.map((v) => (v - mean(values)) ** 2)));
      const normal = build(x.shape, (i) => (at(x, i) - at(means, i)) / Math.sqrt(at(variances, i) + eps));
      for (const [layout, a] of layouts(x)) {
        close(fast.layerNorm(a, null, null, eps), normal, 2e-6, layout);
        close(
          fast.layerNorm(a, toArray(weight), toArray(bias), eps),
          build(x.shape, (i) => at(normal, i) * at(weight, i.slice(2)) + at(bias, i.slice(2))),
          2e-6,
          layout,
        );
      }
    }
    refuses(() => fast.layerNorm(mx.ones([4]), mx.ones([3]), null, 1e-5), "layerNorm", "[4]", "[3]");
  },
  rope() {
    const x = noise([2, 3, 5, 8], 131);
    for (const [layout, a] of layouts(x)) {
      close(fast.rope(a, { dims: 8 }), rotate(x, 8), 2e-6, layout);
      close(fast.rope(a, { dims: 8, traditional: true }), rotate(x, 8, { traditional: true }), 2e-6, layout);
      close(
        fast.rope(a, { dims: 4, offset: 3, scale: 0.5, base: 100 }),
        rotate(x, 4, { offset: 3, scale: 0.5, base: 100 }),
        2e-6,
        layout,
      );
    }
    const freqs = [1, 3, 10, 70];
    close(
      fast.rope(toArray(x), { dims: 8, freqs: mx.array(freqs) }),
      rotate(x, 8, { freqs }),
      2e-6,
      "own frequencies",
    );
    close(
      fast.rope(toArray(x), { dims: 8, freqs: mx.array(freqs), traditional: true }),
      rotate(x, 8, { freqs, traditional: true }),
      2e-6,
    );
    refuses(() => fast.rope(mx.ones([1, 2, 3, 4]), { dims: 8 }), "rope", "8", "[1,2,3,4]");
    refuses(() => fast.rope(mx.ones([4]), { dims: 4 }), "rope", "[4]");
    refuses(() => fast.rope(mx.ones([1, 2, 3, 4]), { dims: 4, freqs: mx.ones([7]) }), "rope", "[7]");
  },
};
