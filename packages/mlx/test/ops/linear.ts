import assert from "node:assert/strict";
import * as mx from "../../src/index.js";
import { close, refuses, same } from "../support/assertions.js";
import {
  at,
  build,
  type Dense,
  dense,
  layouts,
  noise,
  permute,
  positions,
  toArray,
} from "../support/dense.js";

const sum = (count: number, term: (i: number) => number): number => {
  let total = 0;
  for (let i = 0; i < count; i++) total += term(i);
  return total;
};

/** Multiplies matrices over the last two axes, broadcasting batches. */
export function product(a: Dense, b: Dense): Dense {
  const [rows, depth] = a.shape.slice(-2);
  const columns = b.shape.at(-1)!;
  const batchA = a.shape.slice(0, -2);
  const batchB = b.shape.slice(0, -2);
  const ndim = Math.max(batchA.length, batchB.length);
  const batch = Array.from({ length: ndim }, (_, i) =>
    Math.max(batchA[i - ndim + batchA.length] ?? 1, batchB[i - ndim + batchB.length] ?? 1),
  );
  return build([...batch, rows!, columns], (index) => {
    const lead = index.slice(0, -2);
    const [row, column] = index.slice(-2);
    return sum(depth!, (k) => at(a, [...lead, row!, k]) * at(b, [...lead, k, column!]));
  });
}

/** Computes an Einstein sum letter by letter. */
function einstein(subscripts: string, ...operands: Dense[]): Dense {
  const [inputs, output] = subscripts.split("->") as [string, string];
  const names = inputs.split(",");
  const sizes = new Map<string, number>();
  for (const [i, name] of names.entries())
    for (const [axis, letter] of [...name].entries()) sizes.set(letter, operands[i]!.shape[axis]!);
  const summed = [...sizes.keys()].filter((letter) => !output.includes(letter));
  const inner = positions(summed.map((letter) => sizes.get(letter)!));
  return build(
    [...output].map((letter) => sizes.get(letter)!),
    (index) =>
      sum(inner.length, (i) => {
        const value = (letter: string): number =>
          output.includes(letter) ? index[output.indexOf(letter)]! : inner[i]![summed.indexOf(letter)]!;
        return names.reduce((term, name, n) => term * at(operands[n]!, [...name].map(value)), 1);
      }),
  );
}

const a = noise([3, 7, 5], 60);
const b = noise([3, 5, 6], 61);

/** Quantizes one group affinely: levels start at the end of larger magnitude, as MLX defines them. */
function codes(group: number[], bits: number): number[] {
  const levels = 2 ** bits - 1;
  const low = Math.min(...group);
  const high = Math.max(...group);
  let scale = Math.max((high - low) / levels, 1e-7);
  if (Math.abs(low) <= Math.abs(high)) scale = -scale;
  const edge = Math.abs(low) > Math.abs(high) ? low : high;
  const steps = Math.round(edge / scale);
  if (steps !== 0) scale = edge / steps;
  const bias = steps === 0 ? 0 : edge;
  return group.map((w) => Math.min(Math.max(Math.round((w - bias) / scale), 0), levels) * scale + bias);
}

const matrix = noise([8, 128], 62);

export const linear: Record<string, () => void> = {
  matmul() {
    for (const [first, x] of layouts(a))
      for (const [second, y] of layouts(b))
        close(mx.matmul(x, y), product(a, b), 1e-6, `${first}, ${second}`);
    const flat = noise([5, 4], 63);
    close(mx.matmul(toArray(a), toArray(flat)), product(a, flat), 1e-6, "one matrix for all");
    const wide = noise([2, 1, 7, 5], 64);
    close(mx.matmul(toArray(wide), toArray(b)), product(wide, b), 1e-6, "batches broadcast");
    const repeated = mx.broadcastTo(toArray(noise([1, 5], 65)), [7, 5]);
    close(mx.matmul(repeated, toArray(flat)), product(dense(repeated), flat), 1e-6, "broadcast rows");
    close(mx.matmul(mx.array([1, 2]), mx.array([3, 4])), 11);
    same(
      mx.matmul(mx.zeros([2, 0]), mx.zeros([0, 3])),
      [
        [0, 0, 0],
        [0, 0, 0],
      ],
      "no depth",
    );
    for (const dtype of ["float16", "bfloat16", "float64"] as const) {
      const x = toArray(noise([9, 40], 66), dtype);
      const y = toArray(noise([40, 8], 67), dtype);
      close(mx.matmul(x, y), product(dense(x), dense(y)), dtype === "float64" ? 1e-12 : 2e-2, dtype);
    }
    const large = noise([130, 210], 68);
    const other = noise([210, 90], 69);
    close(mx.matmul(toArray(large), toArray(other)), product(large, other), 3e-6, "split among threads");
    refuses(() => mx.matmul(mx.ones([2, 3]), mx.ones([4, 5])), "matmul", "float32 [2,3]", "float32 [4,5]");
    refuses(() => mx.matmul(mx.ones([]), mx.ones([2])), "matmul");
  },
  addmm() {
    const c = noise([6], 70);
    const expected = build([3, 7, 6], (i) => 0.5 * at(c, i) + 2 * at(product(a, b), i));
    for (const [layout, x] of layouts(a))
      close(mx.addmm(toArray(c), x, toArray(b), { alpha: 2, beta: 0.5 }), expected, 1e-6, layout);
    close(mx.addmm(mx.array([[1]]), mx.array([[2]]), mx.array([[3]])), [[7]]);
    refuses(() => mx.addmm(mx.ones([9]), toArray(a), toArray(b)), "addmm", "[9]", "[3,7,5]");
  },
  outer: () =>
    same(mx.outer(mx.array([1, 2]), mx.slice(mx.array([3, 0, 4]), [[0, null, 2]])), [
      [3, 4],
      [6, 8],
    ]),
  inner() {
    const x = noise([3, 4], 71);
    const y = noise([2, 4], 72);
    close(mx.inner(toArray(x), toArray(y)), product(x, permute(y, [1, 0])));
    refuses(() => mx.inner(mx.ones([2]), mx.ones([3])), "inner", "[2]", "[3]");
  },
  tensordot() {
    const x = noise([3, 4, 5], 73);
    const y = noise([4, 3, 2], 74);
    for (const [layout, z] of layouts(x))
      close(mx.tensordot(z, toArray(y), [0, 1], [1, 0]), einstein("abc,bad->cd", x, y), 1e-6, layout);
    close(mx.tensordot(toArray(x), toArray(y), [-2], [0]), einstein("abc,bde->acde", x, y));
    refuses(() => mx.tensordot(mx.ones([2]), mx.ones([3]), [0], [0]), "tensordot", "[2]", "[3]");
  },
  einsum() {
    const q = noise([2, 2, 3, 4], 75);
    const k = noise([2, 2, 5, 4], 76);
    for (const [layout, x] of layouts(q))
      close(mx.einsum("bhqd,bhkd->bhqk", x, toArray(k)), einstein("bhqd,bhkd->bhqk", q, k), 1e-6, layout);
    const m = noise([4, 4], 77);
    const n = noise([4, 3], 78);
    const v = noise([3], 79);
    close(mx.einsum("ij->ji", toArray(m)), einstein("ij->ji", m));
    close(mx.einsum("ii->i", toArray(m)), einstein("ii->i", m));
    close(mx.einsum("ij->", toArray(n)), einstein("ij->", n));
    close(mx.einsum("ij,jk,k->i", toArray(m), toArray(n), toArray(v)), einstein("ij,jk,k->i", m, n, v));
    close(mx.einsum("i,j->ij", toArray(v), toArray(v)), einstein("i,j->ij", v, v));
    refuses(() => mx.einsum("ij,jk->ik", mx.ones([2, 2])), "einsum", "[2,2]");
    refuses(() => mx.einsum("ij", mx.ones([2])), "einsum", "[2]");
    refuses(() => mx.einsum("ij,jk->ik", mx.ones([2, 3]), mx.ones([2, 3])), "einsum", "[2,3]");
  },

  quantize() {
    for (const bits of [2, 3, 4, 5, 6, 8] as const) {
      const { weight, scales, biases } = mx.quantize(toArray(matrix), { bits, groupSize: 32 });
      assert.deepEqual([weight.dtype, weight.shape], ["uint32", [8, (128 * bits) / 32]]);
      assert.deepEqual(
        [scales.shape, biases.shape],
        [
          [8, 4],
          [8, 4],
        ],
      );
    }
    refuses(() => mx.quantize(mx.ones([4, 100])), "quantize", "[4,100]", "64");
    refuses(() => mx.quantize(mx.ones([4, 64]), { groupSize: 0 }), "quantize", "0");
    refuses(() => mx.quantize(mx.ones([4, 64]), { groupSize: 48 }), "quantize");
    // @ts-expect-error: not a width
    refuses(() => mx.quantize(mx.ones([4, 64]), { bits: 7 }), "quantize", "7");
  },
  dequantize() {
    for (const bits of [2, 3, 4, 5, 6, 8] as const)
      for (const groupSize of [32, 64, 128]) {
        const expected: number[] = [];
        for (let at = 0; at < matrix.values.length; at += groupSize)
          expected.push(...codes(matrix.values.slice(at, at + groupSize), bits));
        const found = mx.dequantize(mx.quantize(toArray(matrix), { bits, groupSize }), { bits, groupSize });
        // A value halfway between two levels may round to either.
        const step = 2 / (2 ** bits - 1);
        const apart = dense(found).values.map((v, i) => Math.abs(v - expected[i]!));
        assert.ok(
          apart.filter((e) => e > 1e-5).length <= 3,
          `${bits} ${groupSize}: ${apart.filter((e) => e > 1e-5).length}`,
        );
        assert.ok(apart.every((e) => e <= 1.01 * step));
      }
    const q = mx.quantize(mx.ones([4, 64]));
    refuses(() => mx.dequantize(q, { bits: 8 }), "dequantize", "[4,8]");
  },
  quantizedMatmul() {
    const x = noise([3, 128], 80);
    const tall = noise([3, 8], 81);
    for (const bits of [2, 3, 4, 5, 6, 8] as const) {
      const q = mx.quantize(toArray(matrix), { bits, groupSize: 32 });
      const whole = dense(mx.dequantize(q, { bits, groupSize: 32 }));
      for (const [layout, y] of layouts(x))
        close(
          mx.quantizedMatmul(y, q, { bits, groupSize: 32 }),
          product(x, permute(whole, [1, 0])),
          3e-6,
          `${bits} ${layout}`,
        );
      close(
        mx.quantizedMatmul(toArray(tall), q, { bits, groupSize: 32, transpose: false }),
        product(tall, whole),
        3e-6,
      );
    }
    refuses(
      () => mx.quantizedMatmul(mx.ones([2, 32]), mx.quantize(mx.ones([4, 64]))),
      "quantizedMatmul",
      "[2,32]",
    );
  },
  fromFp8() {
    // 0 eeee fff, bias 7: 0x38 is 1, 0x40 is 2, 0x01 the smallest subnormal, 0x7e the largest.
    const codes = mx.array(new Uint8Array([0, 0x38, 0x40, 0xb8, 0x01, 0x7e, 0x3c]));
    for (const dtype of ["float32", "bfloat16", "float16"] as const) {
      assert.equal(mx.fromFp8(codes, dtype).dtype, dtype);
      same(mx.fromFp8(codes, dtype), [0, 1, 2, -1, 2 ** -9, 448, 1.5], dtype);
    }
    refuses(() => mx.fromFp8(mx.ones([3]), "float32"), "fromFp8", "float32 [3]");
  },
  toFp8() {
    const values = [0, 1, -2, 1.5, 448, 0.001953125, 1.0625];
    assert.deepEqual(
      Array.from(mx.toFp8(mx.array(values)).toTypedArray() as Uint8Array),
      [0, 0x38, 0xc0, 0x3c, 0x7e, 0x01, 0x38],
    );
    refuses(() => mx.toFp8(mx.ones([3], "int32")), "toFp8", "int32 [3]");
  },
};
