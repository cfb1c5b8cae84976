import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as mx from "../src/index.js";
import { close, refuses, rejects, same } from "./support/assertions.js";
import { fromBits, layouts, noise } from "./support/dense.js";

/** Each dtype with a typed array that holds it, and values at the ends of the range. */
const containers: [mx.DType, mx.TypedArray][] = [
  ["bool", new Uint8Array([0, 1, 1, 0])],
  ["uint8", new Uint8Array([0, 1, 254, 255])],
  ["uint16", new Uint16Array([0, 1, 32768, 65535])],
  ["uint32", new Uint32Array([0, 1, 2 ** 31, 2 ** 32 - 1])],
  ["uint64", new BigUint64Array([0n, 1n, 2n ** 63n, 2n ** 64n - 1n])],
  ["int8", new Int8Array([-128, -1, 0, 127])],
  ["int16", new Int16Array([-32768, -1, 0, 32767])],
  ["int32", new Int32Array([-(2 ** 31), -1, 0, 2 ** 31 - 1])],
  ["int64", new BigInt64Array([-(2n ** 63n), -1n, 0n, 2n ** 63n - 1n])],
  ["float16", new Uint16Array([0x3c00, 0x7bff, 0x0001, 0xfc00])],
  ["bfloat16", new Uint16Array([0x3f80, 0x7f7f, 0x0001, 0xff80])],
  ["float32", new Float32Array([-0, 1.5, Number.NaN, -Infinity])],
  ["float64", new Float64Array([-0, 0.1, Number.NaN, 1e308])],
  ["complex64", new Float32Array([1, 2, -3, 0.5])],
];

const widths: Record<mx.DType, number> = {
  bool: 1,
  uint8: 1,
  uint16: 2,
  uint32: 4,
  uint64: 8,
  int8: 1,
  int16: 2,
  int32: 4,
  int64: 8,
  float16: 2,
  bfloat16: 2,
  float32: 4,
  float64: 8,
  complex64: 8,
};

describe("typed arrays", () => {
  for (const [dtype, data] of containers)
    test(`${dtype} makes a round trip`, () => {
      const size = dtype === "complex64" ? 2 : 4;
      using a = mx.array(data, { dtype, shape: [2, size / 2] });
      assert.deepEqual([a.dtype, a.shape, a.size, a.ndim], [dtype, [2, size / 2], size, 2]);
      assert.equal(a.nbytes, size * widths[dtype]);
      assert.deepEqual(a.toTypedArray(), data);
      using turned = mx.transpose(a);
      const [first, second] =
        dtype === "complex64" ? [data.slice(0, 2), data.slice(2)] : [data.slice(0, 1), data.slice(2, 3)];
      const back = turned.toTypedArray();
      assert.deepEqual(back.slice(0, first.length), first);
      if (dtype !== "complex64") assert.deepEqual(back.slice(1, 2), second);
    });

  test("the dtype defaults to that of the typed array", () => {
    for (const [dtype, data] of containers)
      if (!["bool", "float16", "bfloat16", "complex64"].includes(dtype))
        assert.equal(mx.array(data).dtype, dtype);
    assert.equal(mx.array(new Uint8ClampedArray([1, 300])).dtype, "uint8");
    same(mx.array(new Uint8ClampedArray([1, 300])), [1, 255]);
  });

  test("a different dtype converts the values", () => {
    const a = mx.array(new Float32Array([1.5, -2, 3]), { dtype: "int16" });
    assert.equal(a.dtype, "int16");
    same(a, [1, -2, 3]);
    same(mx.array(new Int32Array([0, 2, -1]), { dtype: "bool" }), [0, 1, 1]);
    same(mx.array(new Uint8Array([0, 2]), { dtype: "float32" }), [0, 2]);
    close(mx.array(new Float64Array([0.1]), { dtype: "bfloat16" }), [0.1], 4e-3);
    const complex = mx.array(new Float64Array([2, 3]), { dtype: "complex64" });
    assert.deepEqual(complex.toTypedArray(), new Float32Array([2, 0, 3, 0]));
  });

  test("bytes other than 0 are true as bool", () => {
    same(mx.array(new Uint8Array([0, 1, 7, 255]), { dtype: "bool" }), [0, 1, 1, 1]);
  });

  test("views of part of a buffer are read, also at odd offsets", () => {
    const whole = new Uint8Array(64).map((_, i) => i);
    same(mx.array(whole.subarray(3, 6)), [3, 4, 5]);
    same(mx.array(new Float32Array(new Float32Array([1, 2, 3, 4]).buffer, 4, 2)), [2, 3]);
    const pooled = Buffer.from("pooled");
    assert.notEqual(pooled.byteLength, pooled.buffer.byteLength);
    same(
      mx.array(pooled),
      [..."pooled"].map((letter) => letter.charCodeAt(0)),
    );
    same(mx.array(Buffer.from([9, 8, 7]).subarray(1)), [8, 7]);
  });

  test("memory is copied in and out", () => {
    const data = new Float32Array([1, 2]);
    const a = mx.array(data);
    data[0] = 9;
    same(a, [1, 2]);
    a.toTypedArray()[1] = 9;
    same(a, [1, 2]);
  });

  test("shared memory is copied", () => {
    const shared = new Int32Array(new SharedArrayBuffer(16));
    shared.set([1, 2, 3, 4]);
    same(mx.array(shared), [1, 2, 3, 4]);
    same(mx.array(shared.subarray(1, 3), { shape: [2, 1] }), [[2], [3]]);
    const bits = new Uint16Array(new SharedArrayBuffer(2));
    bits[0] = 0x3f80;
    same(mx.array(bits, { dtype: "bfloat16" }), [1]);
  });

  test("a detached buffer is empty", () => {
    const data = new Float32Array([1, 2]);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    refuses(() => mx.array(data, { shape: [2] }), "fromTypedArray", "0 elements given", "takes 2");
    same(mx.array(data), { shape: [0], values: [] });
  });

  test("data that does not fill the shape is rejected", () => {
    const data = new Float32Array(6);
    for (const shape of [[5], [2, 2], [7], [], [0], [6, 0]])
      refuses(() => mx.array(data, { shape }), "fromTypedArray", "6 elements given");
    refuses(() => mx.array(data, { shape: [-2, -3] }), "fromTypedArray", "negative");
    refuses(() => mx.array(data, { shape: [2 ** 32 + 6] }), "fromTypedArray", "4294967302");
    refuses(() => mx.array(data, { shape: [1.5, 4] }), "fromTypedArray", "1.5");
    refuses(() => mx.array(data, { shape: [Number.NaN] }), "fromTypedArray", "NaN");
    refuses(() => mx.array(data, { dtype: "complex64", shape: [6] }), "fromTypedArray", "takes 12");
    refuses(() => mx.array(new Float32Array(3), { dtype: "complex64" }), "fromTypedArray", "1.5");
  });

  test("other views and dtypes are rejected", () => {
    const view: unknown = new DataView(new ArrayBuffer(8));
    refuses(() => mx.array(view as mx.TypedArray), "array", "DataView");
    // @ts-expect-error: not a dtype
    refuses(() => mx.array(new Float32Array(2), { dtype: "float8" }), "astype", "float8");
  });

  test("empty arrays keep their shape", () => {
    const empty = mx.array(new Float32Array(0), { shape: [3, 0, 2] });
    assert.deepEqual([empty.size, empty.nbytes, empty.shape], [0, 0, [3, 0, 2]]);
    assert.deepEqual(empty.toTypedArray(), new Float32Array(0));
    assert.deepEqual(mx.transpose(empty).shape, [2, 0, 3]);
  });
});

describe("16-bit floats", () => {
  const values = [0, -0, 1, 1 / 3, 65504, 65520, 1e-8, 6e-8, 1e38, 3.4e38, -Math.E, Infinity, -Infinity];
  for (const dtype of ["bfloat16", "float16"] as const)
    test(`${dtype} rounds to nearest, ties to even`, () => {
      const bits = mx.astype(mx.array(values), dtype).toTypedArray() as Uint16Array;
      const all = Array.from({ length: 65536 }, (_, i) => i).filter(
        (i) => (i & 0x7fff) <= (dtype === "bfloat16" ? 0x7f80 : 0x7c00),
      );
      for (const [i, value] of values.entries()) {
        const source = Math.fround(value);
        const found = fromBits(bits[i]!, dtype);
        // The step after the largest value is infinity; values that round to it become infinite.
        const largest = dtype === "bfloat16" ? 2 ** 128 * (1 - 2 ** -9) : 65520;
        if (Math.abs(source) >= largest) {
          assert.equal(found, Math.sign(source) * Infinity, String(value));
          continue;
        }
        const best = Math.min(...all.map((candidate) => Math.abs(fromBits(candidate, dtype) - source)));
        assert.equal(Math.abs(found - source), best, `${value} became ${found}`);
        assert.equal(Object.is(found, -0), Object.is(value, -0));
      }
      const ties = dtype === "bfloat16" ? [1 + 2 ** -8, 1 + 3 * 2 ** -8] : [1 + 2 ** -11, 1 + 3 * 2 ** -11];
      const even = mx.astype(mx.array(ties), dtype).toTypedArray() as Uint16Array;
      for (const found of even) assert.equal(found & 1, 0);
    });

  test("every bit pattern survives conversion to float32 and back", () => {
    const all = new Uint16Array(65536).map((_, i) => i);
    for (const dtype of ["bfloat16", "float16"] as const) {
      const wide = mx.astype(mx.array(all, { dtype }), "float32");
      const numbers = wide.toTypedArray() as Float32Array;
      const back = mx.astype(wide, dtype).toTypedArray() as Uint16Array;
      for (const bits of all) {
        const expected = fromBits(bits, dtype);
        if (Number.isNaN(expected))
          assert.ok(Number.isNaN(numbers[bits]!) && Number.isNaN(fromBits(back[bits]!, dtype)));
        else if (!Object.is(numbers[bits], expected) || back[bits] !== bits)
          assert.fail(`${dtype} ${bits}: ${numbers[bits]}, expected ${expected}, back ${back[bits]}`);
      }
    }
  });
});

describe("lists and numbers", () => {
  test("nested lists make float32", () => {
    const a = mx.array([
      [1, 2.5],
      [3, -4],
    ]);
    assert.deepEqual([a.dtype, a.shape], ["float32", [2, 2]]);
    same(a, [
      [1, 2.5],
      [3, -4],
    ]);
    assert.deepEqual(mx.array([[[1], [2]]]).shape, [1, 2, 1]);
    assert.deepEqual(mx.array([]).shape, [0]);
    assert.deepEqual(mx.array([[], []]).shape, [2, 0]);
  });

  test("a number or boolean makes a scalar", () => {
    assert.deepEqual([mx.array(3).shape, mx.array(3).dtype, mx.array(3).item()], [[], "float32", 3]);
    assert.deepEqual([mx.array(true).dtype, mx.array(true).item()], ["bool", true]);
  });

  test("lists convert to any dtype", () => {
    for (const dtype of Object.keys(widths) as mx.DType[]) {
      const a = mx.array(
        [
          [0, 1],
          [1, 0],
        ],
        { dtype },
      );
      assert.equal(a.dtype, dtype);
      if (dtype !== "complex64")
        same(
          a,
          [
            [0, 1],
            [1, 0],
          ],
          dtype,
        );
    }
  });

  test("a shape rearranges a list", () => {
    same(mx.array([1, 2, 3, 4], { shape: [2, 2] }), [
      [1, 2],
      [3, 4],
    ]);
  });

  test("values are exact in their dtype", () => {
    assert.equal(mx.array(2 ** 52, { dtype: "int64" }).item(), 2n ** 52n);
    same(mx.array([true, false, true], { dtype: "bool" }), [1, 0, 1]);
    assert.equal(mx.array([0.1], { dtype: "float64" }).item(), 0.1);
  });

  test("ragged lists are rejected", () => {
    for (const ragged of [[[1, 2], [3]], [1, [2]], [[1], 2], [[[1]], [[2, 3]]], [[1, [2]]], [[], [1]]])
      refuses(() => mx.array(ragged), "array", "ragged");
  });

  test("values other than numbers are rejected", () => {
    const wrongs: unknown[] = [["a"], [null], [undefined], [{}], "text", null, undefined, {}];
    for (const wrong of wrongs) refuses(() => mx.array(wrong as number[]), "array");
    refuses(() => mx.array([0.5], { dtype: "int64" }), "array", "0.5");
    // @ts-expect-error: not a dtype
    refuses(() => mx.array([1], { dtype: "float8" }), "astype", "float8");
  });
});

describe("item and toString", () => {
  test("item returns the value of a one-element array", () => {
    assert.equal(mx.array(new BigInt64Array([-(2n ** 63n)])).item(), -(2n ** 63n));
    assert.equal(mx.array(new BigUint64Array([2n ** 64n - 1n])).item(), 2n ** 64n - 1n);
    assert.equal(mx.array(new Uint32Array([2 ** 32 - 1])).item(), 2 ** 32 - 1);
    assert.equal(mx.array(new Int8Array([-128])).item(), -128);
    assert.equal(mx.array(new Uint16Array([65535])).item(), 65535);
    assert.equal(mx.array(new Float64Array([0.1])).item(), 0.1);
    assert.equal(mx.array(new Float32Array([0.1])).item(), Math.fround(0.1));
    assert.equal(mx.array(new Uint16Array([0x3fc0]), { dtype: "bfloat16" }).item(), 1.5);
    assert.equal(mx.array(new Uint16Array([0x7e00]), { dtype: "float16" }).item(), Number.NaN);
    assert.equal(mx.array([[[true]]], { dtype: "bool" }).item(), true);
    assert.equal(mx.slice(mx.array([1, 2, 3]), [2]).item(), 3);
    for (const [layout, a] of layouts(noise([3, 2], 1))) {
      const last = mx.slice(a, [2, 1]);
      assert.equal(last.item(), noise([3, 2], 1).values[5], layout);
    }
  });

  test("item rejects arrays of any other size, and complex numbers", () => {
    refuses(() => mx.ones([2]).item(), "item", "float32 [2]");
    refuses(() => mx.ones([0]).item(), "item", "float32 [0]");
    refuses(() => mx.ones([1], "complex64").item(), "item", "complex");
  });

  test("toString formats like MLX", () => {
    assert.equal(
      String(
        mx.array([
          [1, 2],
          [3, 4.5],
        ]),
      ),
      "array([[1, 2],\n       [3, 4.5]], dtype=float32)",
    );
    assert.equal(`${mx.add(mx.array(new Int32Array([1])), 1)}`, "array([2], dtype=int32)");
  });

  test("isArray recognizes arrays only", () => {
    assert.equal(mx.isArray(mx.ones([])), true);
    for (const other of [
      null,
      undefined,
      1,
      {},
      [],
      new Float32Array(1),
      Object.create(Object.getPrototypeOf(mx.ones([]))),
    ])
      assert.equal(mx.isArray(other), false);
  });
});

describe("disposed arrays", () => {
  const gone = (): mx.MxArray => {
    const a = mx.ones([2, 2]);
    a.dispose();
    return a;
  };

  test("dispose is idempotent, also with using", () => {
    const before = mx.memory.liveHandles();
    const a = mx.ones([2]);
    {
      using b = a;
      assert.equal(b.disposed, false);
    }
    assert.equal(a.disposed, true);
    a.dispose();
    a.dispose();
    assert.equal(mx.memory.liveHandles(), before);
  });

  test("results computed from it stay valid", () => {
    const a = mx.array([1, 2]);
    const b = mx.add(a, 1);
    a.dispose();
    same(b, [2, 3]);
  });

  test("every property except disposed throws under its name", () => {
    const a = gone();
    for (const property of ["shape", "dtype", "size", "ndim", "nbytes"] as const)
      refuses(() => a[property], property, "disposed");
    refuses(() => a.toTypedArray(), "toTypedArray", "disposed");
    refuses(() => a.item(), "item", "disposed");
    refuses(() => a.toString(), "toString", "disposed");
  });

  test("every operation throws under its name", () => {
    const a = gone();
    const b = mx.ones([2, 2]);
    const uses: [string, () => unknown][] = [
      ["abs", () => mx.abs(a)],
      ["add", () => mx.add(b, a)],
      ["add", () => mx.add(a, 1)],
      ["where", () => mx.where(b, a, 0)],
      ["clip", () => mx.clip(b, a, null)],
      ["sum", () => mx.sum(a)],
      ["sum", () => mx.sum(a, { axis: 0 })],
      ["mean", () => mx.mean(a)],
      ["argmax", () => mx.argmax(a)],
      ["softmax", () => mx.softmax(a)],
      ["reshape", () => mx.reshape(a, [4])],
      ["unflatten", () => mx.unflatten(a, 0, [2, 1])],
      ["squeeze", () => mx.squeeze(a)],
      ["transpose", () => mx.transpose(a)],
      ["flip", () => mx.flip(a)],
      ["concatenate", () => mx.concatenate([b, a])],
      ["stack", () => mx.stack([a])],
      ["split", () => mx.split(a, 2)],
      [
        "pad",
        () =>
          mx.pad(a, [
            [0, 0],
            [1, 1],
          ]),
      ],
      ["slice", () => mx.slice(a, [0, 1])],
      ["sliceUpdate", () => mx.sliceUpdate(a, 1, [0])],
      ["sliceUpdate", () => mx.sliceUpdate(b, a, [0])],
      ["take", () => mx.take(b, a)],
      ["gather", () => mx.gather(b, [a], [0], [1, 2])],
      ["matmul", () => mx.matmul(a, b)],
      ["einsum", () => mx.einsum("ij,jk->ik", b, a)],
      ["convGeneral", () => mx.conv2d(a, b)],
      ["convTranspose2d", () => mx.convTranspose2d(a, b)],
      ["quantize", () => mx.quantize(a)],
      ["astype", () => mx.astype(a, "int32")],
      ["scaledDotProductAttention", () => mx.fast.scaledDotProductAttention(b, a, b, { scale: 1 })],
      ["rmsNorm", () => mx.fast.rmsNorm(a, null, 1e-5)],
      ["randomSplit", () => mx.random.split(a)],
      ["valueAndGrad", () => mx.grad((x) => mx.sum(x))(a)],
      ["evaluateSync", () => mx.evaluateSync(a)],
    ];
    for (const [operation, use] of uses) refuses(use, operation, "disposed");
  });

  test("evaluate rejects", () => rejects(mx.evaluate([mx.ones([1]), gone()]), "evaluate", "disposed"));

  test("the class cannot be constructed or borrowed", () => {
    const MxArray = mx.ones([]).constructor as new (...args: unknown[]) => unknown;
    refuses(() => new MxArray(), "MxArray", "array()");
    refuses(() => new MxArray({}), "MxArray");
    refuses(() => new MxArray(mx.ones([])), "MxArray");
    assert.throws(() => (MxArray as unknown as () => void)(), TypeError);
    const { dispose } = mx.ones([]);
    assert.throws(() => dispose.call(Object.create(MxArray.prototype) as mx.MxArray));
    assert.throws(() => dispose.call({} as mx.MxArray));
  });
});

describe("errors", () => {
  /** The frames of a stack. */
  const frames = (error: Error): string[] =>
    error.stack!.split("\n").filter((line) => line.includes("    at "));

  test("the stack starts in the file of the caller", () => {
    try {
      mx.matmul(mx.ones([2, 3]), mx.ones([4, 5]));
      assert.fail("expected an error");
    } catch (error) {
      assert.ok(error instanceof mx.MlxError);
      assert.match((error as Error).message, /^matmul: .*\(operands: float32 \[2,3\], float32 \[4,5\]\)$/);
      assert.match(
        frames(error as Error)
          .slice(0, 3)
          .join("\n"),
        /array\.test\.js/,
      );
    }
  });
});
