import assert from "node:assert/strict";
import * as mx from "../../src/index.js";
import { close, refuses, same } from "../support/assertions.js";
import { at, build, type Dense, layouts, noise } from "../support/dense.js";

const floats: mx.DType[] = ["float16", "bfloat16", "float32", "float64"];
const numeric: mx.DType[] = [
  "uint8",
  "uint16",
  "uint32",
  "uint64",
  "int8",
  "int16",
  "int32",
  "int64",
  ...floats,
];

const filled = (shape: number[], value: number): Dense => build(shape, () => value);

const triangle =
  (
    op: (a: mx.MxArray, k?: number) => mx.MxArray,
    keeps: (row: number, column: number, k: number) => boolean,
  ) =>
  (): void => {
    const d = noise([2, 4, 5], 30);
    for (const [layout, a] of layouts(d))
      for (const k of [undefined, -2, 1])
        same(
          op(a, k),
          build(d.shape, (i) => (keeps(i[1]!, i[2]!, k ?? 0) ? at(d, i) : 0)),
          `${layout} ${k}`,
        );
    refuses(() => op(mx.ones([4])), op.name, "[4]");
  };

const constant =
  (op: (shape: readonly number[], dtype?: mx.DType) => mx.MxArray, value: number) => (): void => {
    same(op([2, 3]), filled([2, 3], value));
    same(op([]), value);
    same(op([0, 2]), filled([0, 2], value));
    assert.equal(op([1]).dtype, "float32");
    for (const dtype of [...numeric, "bool" as const]) {
      assert.equal(op([2], dtype).dtype, dtype);
      same(op([2], dtype), [value, value], dtype);
    }
    refuses(() => op([-1]), op.name);
    refuses(() => op([2 ** 32 + 1]), op.name, "4294967297");
    refuses(() => op([1.5]), op.name, "1.5");
    refuses(() => op([Number.NaN]), op.name, "NaN");
    refuses(() => op([2 ** 31 - 1, 2 ** 31 - 1]), op.name, "elements");
  };

export const making: Record<string, () => void> = {
  zeros: constant(mx.zeros, 0),
  ones: constant(mx.ones, 1),
  zerosLike() {
    const like = mx.zerosLike(mx.array([[1, 2]], { dtype: "int16" }));
    assert.equal(like.dtype, "int16");
    same(like, [[0, 0]]);
  },
  onesLike() {
    const like = mx.onesLike(mx.array([[1, 2]], { dtype: "bfloat16" }));
    assert.equal(like.dtype, "bfloat16");
    same(like, [[1, 1]]);
  },
  full() {
    same(mx.full([2, 2], 2.5), filled([2, 2], 2.5));
    same(mx.full([2], 7, "int64"), [7, 7]);
    same(
      mx.full([2, 2], mx.array([1, 2])),
      [
        [1, 2],
        [1, 2],
      ],
      "an array is broadcast",
    );
    same(mx.full([2], true, "bool"), [1, 1]);
    refuses(() => mx.full([2], mx.array([1, 2, 3])), "full", "[3]");
  },
  arange() {
    same(mx.arange(4), [0, 1, 2, 3]);
    close(mx.arange(2, { start: 0.5, step: 0.25 }), [0.5, 0.75, 1, 1.25, 1.5, 1.75]);
    same(mx.arange(0, { start: 3, step: -1, dtype: "int32" }), [3, 2, 1]);
    same(mx.arange(-4), { shape: [0], values: [] });
    for (const dtype of numeric) same(mx.arange(5, { dtype }), [0, 1, 2, 3, 4], dtype);
    refuses(() => mx.arange(4, { step: 0 }), "arange", "step");
    refuses(() => mx.arange(Number.NaN), "arange");
    refuses(() => mx.arange(1e18), "arange");
  },
  linspace() {
    close(mx.linspace(-1, 2, 7), [-1, -0.5, 0, 0.5, 1, 1.5, 2]);
    same(mx.linspace(3, 9, 1), [3]);
    same(mx.linspace(3, 9, 0), { shape: [0], values: [] });
    assert.equal(mx.linspace(0, 1, 3, "float16").dtype, "float16");
    refuses(() => mx.linspace(0, 1, -1), "linspace", "-1");
    refuses(() => mx.linspace(0, 1, 2.5), "linspace", "2.5");
  },
  eye() {
    same(
      mx.eye(3),
      build([3, 3], ([i, j]) => Number(i === j)),
    );
    same(
      mx.eye(2, { columns: 4, k: 1 }),
      build([2, 4], ([i, j]) => Number(j === i! + 1)),
    );
    same(
      mx.eye(3, { k: -1, dtype: "int8" }),
      build([3, 3], ([i, j]) => Number(j === i! - 1)),
    );
    refuses(() => mx.eye(-1), "eye");
  },
  tril: triangle(mx.tril, (row, column, k) => column <= row + k),
  triu: triangle(mx.triu, (row, column, k) => column >= row + k),

  astype() {
    const values = [-3.7, -1, 0, 1.2, 3.9, 100];
    for (const dtype of numeric) {
      const signed = dtype.startsWith("u") ? values.map(Math.abs) : values;
      const cast = mx.astype(mx.array(signed), dtype);
      assert.equal(cast.dtype, dtype);
      if (floats.includes(dtype))
        close(cast, signed, dtype === "bfloat16" ? 4e-3 : dtype === "float16" ? 5e-4 : 1e-7, dtype);
      else same(cast, signed.map(Math.trunc), dtype);
    }
    for (const [layout, a] of layouts({ shape: [2, 2], values: [0, 1, -2, 0] }))
      same(
        mx.astype(a, "bool"),
        [
          [0, 1],
          [1, 0],
        ],
        layout,
      );
    // @ts-expect-error: not a dtype
    refuses(() => mx.astype(mx.ones([2]), "float8"), "astype", "float8", "[2]");
  },
  view() {
    const one = mx.view(mx.array([1, -2]), "uint32");
    same(one, [0x3f800000, 0xc0000000]);
    same(mx.view(mx.array(new Uint16Array([0, 0x3f80])), "float32"), [1]);
    const bytes = mx.view(
      mx.transpose(mx.array(new Uint16Array([1, 2, 3, 0x0104]), { shape: [2, 2] })),
      "uint8",
    );
    same(
      bytes,
      [
        [1, 0, 3, 0],
        [2, 0, 4, 1],
      ],
      "transposed",
    );
    refuses(() => mx.view(mx.zeros([3], "uint8"), "float32"), "view", "[3]");
    refuses(() => mx.view(mx.zeros([]), "uint8"), "view");
  },
  contiguous() {
    const d = noise([3, 4], 31);
    for (const [layout, a] of layouts(d)) same(mx.contiguous(a), d, layout);
  },
  copy() {
    const d = noise([3, 4], 32);
    for (const [layout, a] of layouts(d)) {
      const other = mx.copy(a);
      a.dispose();
      same(other, d, layout);
    }
  },
};

/** The dtype of `op(array, number)`. */
export const scalars: [mx.DType, number | boolean, mx.DType][] = [
  ["float32", 2, "float32"],
  ["float16", 2.5, "float16"],
  ["bfloat16", 1e30, "bfloat16"],
  ["float64", 0.1, "float64"],
  ["complex64", 2.5, "complex64"],
  ["int32", 3, "int32"],
  ["int32", 2.5, "float32"],
  ["int64", 3, "int64"],
  ["int8", -128, "int8"],
  ["int8", 128, "int32"],
  ["uint8", 255, "uint8"],
  ["uint8", 300, "int32"],
  ["uint8", -1, "int32"],
  ["uint16", 65535, "uint16"],
  ["int32", 2 ** 40, "int64"],
  ["bool", true, "bool"],
  ["bool", 1, "int32"],
  ["bool", 0.5, "float32"],
  ["int32", true, "int32"],
  ["float16", true, "float16"],
];
