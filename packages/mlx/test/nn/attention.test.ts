import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  add,
  array,
  astype,
  defaultDevice,
  fast,
  type MxArray,
  matmul,
  memory,
  multiply,
  softmax,
  swapaxes,
} from "../../src/index.js";
import {
  attention,
  canMultiplyBfloat16,
  DotProductAttention,
  Module,
  setAttentionProducts,
} from "../../src/nn/index.js";
import { assertClose, normal, onCpu, relativeError, values } from "../support/numbers.js";

describe("attention", () => {
  const scale = 0.3;
  const plainly = (q: MxArray, k: MxArray, v: MxArray, mask: MxArray | null): MxArray => {
    const scores = multiply(matmul(q, swapaxes(k, 2, 3)), scale);
    return matmul(softmax(mask ? add(scores, mask) : scores), v);
  };
  type Operands = [MxArray, MxArray, MxArray];
  const qkv = (batch: number, heads: number, queries: number, keys: number, dims: number): Operands => [
    normal([batch, heads, queries, dims], 20),
    normal([batch, heads, keys, dims], 21),
    normal([batch, heads, keys, dims], 22),
  ];

  it("is softmax(scale q kᵀ) v", () => {
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    assertClose(attention(q, k, v, { scale }), plainly(q, k, v, null), 1e-6);
  });

  it("computes groups of heads and blocks of queries", onCpu, () => {
    // 16 MB of scores per head give groups of heads, 70 MB blocks of queries, for dtypes other than float32.
    for (const [heads, tokens, masked] of [
      [5, 2000, false],
      [5, 2000, true],
      [2, 4200, true],
    ] as const) {
      const halves = qkv(1, heads, tokens, tokens, 8).map((a) => astype(a, "bfloat16")) as Operands;
      const wide = halves.map((a) => astype(a, "float32")) as Operands;
      const mask = masked ? multiply(normal([1, heads, tokens, 1], 23), normal([1, 1, 1, tokens], 24)) : null;
      assertClose(attention(...halves, { scale, mask }), plainly(...wide, mask), 4e-3);
      memory.clearCache();
    }
  });

  it("adds a mask of any broadcast shape", () => {
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    const shapes = [
      [5, 7],
      [2, 1, 1, 7],
      [3, 5, 7],
      [1, 3, 5, 1],
    ];
    for (const [i, shape] of shapes.entries()) {
      const mask = normal(shape, 30 + i);
      assertClose(attention(q, k, v, { scale, mask }), plainly(q, k, v, mask), 1e-6);
    }
  });

  it("takes a boolean mask", () => {
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    const allowed = Array.from({ length: 35 }, (_, i) => (i * 5) % 3 !== 0 || i % 7 === 0);
    const boolean = array(allowed.map(Number), { shape: [5, 7], dtype: "bool" });
    const added = array(
      allowed.map((attend) => (attend ? 0 : -1e30)),
      { shape: [5, 7] },
    );
    assertClose(attention(q, k, v, { scale, mask: boolean }), plainly(q, k, v, added), 1e-6);
  });

  it("takes a causal mask, like MLX", () => {
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    const causal = array(
      Array.from({ length: 35 }, (_, i) => (i % 7 <= Math.floor(i / 7) + 2 ? 0 : -1e30)),
      { shape: [5, 7] },
    );
    assertClose(attention(q, k, v, { scale, mask: "causal" }), plainly(q, k, v, causal), 1e-6);
    assertClose(
      attention(q, k, v, { scale, mask: "causal" }),
      fast.scaledDotProductAttention(q, k, v, { scale, mask: "causal" }),
      1e-6,
    );
  });

  it("uses bfloat16 products in layers set to them, if the processor has them", () => {
    class Block extends Module {
      readonly inner = new DotProductAttention(scale);
    }
    const block = new Block();
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    const exact = values(attention(q, k, v, { scale }));
    assert.deepEqual(values(block.inner.forward(q, k, v)), exact);
    setAttentionProducts(block, "bfloat16");
    const out = block.inner.forward(q, k, v);
    assert.deepEqual(out.shape, q.shape);
    const error = relativeError(values(out), exact);
    if (defaultDevice() === "cpu" && canMultiplyBfloat16())
      assert.ok(error > 1e-5 && error < 1e-2, `${error}`);
    else assert.equal(error, 0);
    setAttentionProducts(block, "exact");
    assert.deepEqual(values(block.inner.forward(q, k, v)), exact);
  });

  it("computes 16-bit input in float32 and returns its dtype", () => {
    const [q, k, v] = qkv(1, 2, 40, 40, 8).map((a) => astype(a, "bfloat16")) as [MxArray, MxArray, MxArray];
    const out = attention(q, k, v, { scale });
    assert.equal(out.dtype, "bfloat16");
    const wide = [q, k, v].map((a) => astype(a, "float32")) as [MxArray, MxArray, MxArray];
    assertClose(out, plainly(...wide, null), 4e-3);
  });
});
