import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fast from "../src/fast.js";
import * as mx from "../src/index.js";
import * as operations from "../src/ops.js";
import { convolution } from "./ops/convolution.js";
import { elementwise } from "./ops/elementwise.js";
import { fastOperations } from "./ops/fast.js";
import { indexing } from "./ops/indexing.js";
import { linear } from "./ops/linear.js";
import { making, scalars } from "./ops/making.js";
import { reductions } from "./ops/reductions.js";
import { shape } from "./ops/shape.js";
import { close, refuses, same } from "./support/assertions.js";

/** One test per operation, under its name. */
const tests: Record<string, () => void> = {
  ...making,
  ...elementwise,
  ...reductions,
  ...shape,
  ...indexing,
  ...linear,
  ...convolution,
};

/** Runs a test and frees its arrays. */
const run = (name: string, body: () => void): void => {
  test(name, () => mx.scope(body));
};

describe("operations", () => {
  for (const [name, body] of Object.entries(tests)) run(name, body);

  test("every export is tested under its name", () => {
    assert.deepEqual(Object.keys(tests).sort(), Object.keys(operations).sort());
    assert.deepEqual(Object.keys(fastOperations).sort(), Object.keys(fast).sort());
  });
});

describe("fast operations", () => {
  for (const [name, body] of Object.entries(fastOperations)) run(name, body);
});

describe("operands", () => {
  for (const [dtype, number, expected] of scalars)
    run(`${dtype} with ${number} gives ${expected}`, () => {
      const a = mx.ones([2], dtype);
      const [after, before] = [mx.multiply(a, number), mx.multiply(number, a)];
      assert.deepEqual([after.dtype, before.dtype], [expected, expected]);
      // bfloat16 keeps 8 bits; the rest is exact in every dtype here.
      if (dtype !== "complex64")
        close(after, [Number(number), Number(number)], dtype === "bfloat16" ? 4e-3 : 1e-7);
    });

  run("two arrays promote", () => {
    const sum = (a: mx.DType, b: mx.DType): string => mx.add(mx.ones([1], a), mx.ones([1], b)).dtype;
    assert.equal(sum("int8", "uint8"), "int16");
    assert.equal(sum("int32", "float16"), "float16");
    assert.equal(sum("float16", "bfloat16"), "float32");
    assert.equal(sum("bool", "uint8"), "uint8");
    assert.equal(sum("float32", "complex64"), "complex64");
    assert.equal(sum("uint64", "int64"), "float32");
  });

  run("two numbers make float32", () => {
    const sum = mx.add(1, 2.5);
    assert.equal(sum.dtype, "float32");
    assert.equal(sum.item(), 3.5);
  });

  run("integers divide to float32", () => {
    const half = mx.divide(mx.array(new Int32Array([1, 3])), 2);
    assert.equal(half.dtype, "float32");
    same(half, [0.5, 1.5]);
  });

  run("other operands are rejected", () => {
    // @ts-expect-error: not an operand
    refuses(() => mx.add("1", 2), "add", "a: expected an array or a number, got a string");
    // @ts-expect-error: not an operand
    refuses(() => mx.add(mx.ones([2]), null), "add", "b: expected an array or a number, got null", "[2]");
    // @ts-expect-error: not an array
    refuses(() => mx.exp(3), "exp", "a: expected an array, got a number");
    // @ts-expect-error: not an array
    refuses(() => mx.exp({ shape: [1] }), "exp", "got an object");
    refuses(() => mx.topk(mx.ones([4]), 2 ** 31), "topk", "32-bit");
    refuses(() => mx.topk(mx.ones([4]), 1.5), "topk", "1.5");
  });
});
