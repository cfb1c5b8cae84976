import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, test } from "node:test";
import * as mx from "../src/index.js";
import { product } from "./ops/linear.js";
import { close, refuses, same } from "./support/assertions.js";
import { at, build, noise, permute, toArray } from "./support/dense.js";
import { program, temporaryFolder } from "./support/process.js";

const x = (): mx.MxArray => mx.array([0.5, -1, 2]);
const values = [0.5, -1, 2];

/** Runs `use` and asserts that no handle made by it remains. */
function leavesNothing(use: () => void): void {
  const before = mx.memory.liveHandles();
  mx.scope(use);
  assert.equal(mx.memory.liveHandles(), before);
}

describe("gradients", () => {
  test("valueAndGrad returns the value and the derivative", () =>
    leavesNothing(() => {
      const both = mx.valueAndGrad((a) => mx.sum(mx.multiply(mx.sin(a), a)));
      const { values: results, grads } = both(x());
      close(
        results[0]!,
        values.reduce((sum, v) => sum + v * Math.sin(v), 0),
      );
      assert.equal(grads.length, 1);
      close(
        grads[0]!,
        values.map((v) => Math.sin(v) + v * Math.cos(v)),
      );
    }));

  test("are taken with respect to the named arguments", () =>
    leavesNothing(() => {
      const fn = (a: mx.MxArray, b: mx.MxArray): mx.MxArray => mx.sum(mx.multiply(mx.square(a), b));
      const [a, b] = [mx.array([1, 2]), mx.array([3, 4])];
      same(mx.grad(fn)(a, b)[0]!, [6, 16]);
      same(mx.grad(fn, [1])(a, b)[0]!, [1, 4]);
      const [first, second] = mx.grad(fn, [0, 1])(a, b);
      same(first!, [6, 16]);
      same(second!, [1, 4]);
      refuses(() => mx.grad(fn, [2])(a, b), "valueAndGrad", "[2]");
      refuses(() => mx.grad(fn, [])(a, b), "valueAndGrad");
    }));

  test("valueAndGrad passes further results through", () =>
    leavesNothing(() => {
      const { values: results, grads } = mx.valueAndGrad((a) => [mx.sum(a), mx.multiply(a, 10)])(x());
      assert.equal(results.length, 2);
      same(results[0]!, 1.5);
      same(results[1]!, [5, -10, 20]);
      same(grads[0]!, [1, 1, 1]);
    }));

  test("grad keeps the gradients only", () => {
    const a = x();
    const before = mx.memory.liveHandles();
    const [slope] = mx.grad((b) => mx.sum(mx.square(b)))(a);
    assert.equal(mx.memory.liveHandles(), before + 1);
    same(slope!, [1, -2, 4]);
  });

  test("work for matrix products and for gradients", () =>
    leavesNothing(() => {
      const [a, b] = [noise([3, 4], 200), noise([4, 2], 201)];
      const [da, db] = mx.grad((p, q) => mx.sum(mx.square(mx.matmul(p, q))), [0, 1])(toArray(a), toArray(b));
      const twice = product(a, b);
      const doubled = build(twice.shape, (i) => 2 * at(twice, i));
      close(da!, product(doubled, permute(b, [1, 0])));
      close(db!, product(permute(a, [1, 0]), doubled));
      const slope = (p: mx.MxArray): mx.MxArray => mx.sum(mx.grad((q) => mx.sum(mx.power(q, 3)))(p)[0]!);
      close(
        mx.grad(slope)(x())[0]!,
        values.map((v) => 6 * v),
      );
    }));

  test("reject functions that do not return a scalar", () => {
    refuses(() => mx.grad((a) => a)(x()), "valueAndGrad", "[3]");
    // @ts-expect-error: not an array
    refuses(() => mx.grad(() => 5)(x()), "valueAndGrad", "expected an array, got a number");
    // @ts-expect-error: not an array
    refuses(() => mx.grad((a) => mx.sum(a))(5), "valueAndGrad", "expected an array");
  });

  test("vjp multiplies from the left, jvp from the right", () =>
    leavesNothing(() => {
      const fn = (a: mx.MxArray): mx.MxArray => mx.exp(mx.multiply(a, 2));
      const slope = values.map((v) => 2 * Math.exp(2 * v));
      const { outputs, vjps } = mx.vjp(fn, [x()], [mx.array([1, 10, -1])]);
      close(
        outputs[0]!,
        values.map((v) => Math.exp(2 * v)),
      );
      close(
        vjps[0]!,
        slope.map((s, i) => s * [1, 10, -1][i]!),
      );
      const along = mx.jvp(fn, [x()], [mx.array([3, 0, 1])]);
      close(
        along.outputs[0]!,
        values.map((v) => Math.exp(2 * v)),
      );
      close(
        along.jvps[0]!,
        slope.map((s, i) => s * [3, 0, 1][i]!),
      );
      refuses(() => mx.vjp(fn, [x()], [mx.ones([2])]), "vjp", "[2]");
      refuses(() => mx.jvp(fn, [x()], []), "jvp");
    }));

  test("a function can read an array", () =>
    leavesNothing(() => {
      const seen: unknown[] = [];
      mx.grad((a) => {
        const sum = mx.sum(a);
        seen.push(sum.item());
        return sum;
      })(x());
      assert.deepEqual(seen, [1.5]);
    }));
});

describe("functions called back", () => {
  const transforms: [string, (fn: mx.ArrayFunction) => unknown][] = [
    ["valueAndGrad", (fn) => mx.valueAndGrad(fn)(x())],
    ["vjp", (fn) => mx.vjp(fn, [x()], [mx.ones([])])],
    ["jvp", (fn) => mx.jvp(fn, [x()], [x()])],
    ["compile", (fn) => mx.compile(fn)(x())],
  ];

  for (const [name, apply] of transforms) {
    test(`${name} rethrows errors of the function unchanged`, () =>
      leavesNothing(() => {
        for (const thrown of [new RangeError("mine"), { plain: true }]) {
          const fn = (a: mx.MxArray): mx.MxArray => {
            mx.add(a, 1);
            throw thrown;
          };
          assert.throws(
            () => apply(fn),
            (error) => error === thrown,
          );
        }
        refuses(() => apply((a) => mx.reshape(a, [7])), "reshape", "[3]");
        // The abandoned trace has no effect on MLX.
        close(
          mx.grad((a) => mx.sum(mx.square(a)))(x())[0]!,
          values.map((v) => 2 * v),
        );
        same(mx.add(x(), 1), [1.5, 0, 3]);
      }));

    test(`${name} invalidates arrays that leak from the function`, () => {
      const leaked: mx.MxArray[] = [];
      apply((a) => {
        leaked.push(a, mx.multiply(a, 2));
        return mx.sum(a);
      });
      assert.equal(leaked.length, 2);
      for (const a of leaked) {
        refuses(() => mx.add(a, 1), "add", "disposed");
        refuses(() => a.toTypedArray(), "toTypedArray", "disposed");
      }
    });
  }
});

describe("compile", () => {
  const gelu = (a: mx.MxArray): mx.MxArray =>
    mx.multiply(mx.multiply(a, 0.5), mx.add(mx.erf(mx.divide(a, Math.SQRT2)), 1));

  test("gives the result of the plain function", () =>
    leavesNothing(() => {
      const compiled = mx.compile(gelu);
      for (const shape of [[4, 5], [3], [], [0]]) {
        const a = toArray(noise(shape, 202, -3, 3));
        const [result] = compiled(a);
        assert.equal(mx.arrayEqual(result!, gelu(a)).item(), true);
      }
      const both = mx.compile((a, b) => [mx.add(a, b), mx.multiply(a, b)], { shapeless: true });
      const [sum, times] = both(mx.array([1, 2]), mx.array([3, 4]));
      same(sum!, [4, 6]);
      same(times!, [3, 8]);
    }));

  test("rejects arguments other than arrays", () => {
    // @ts-expect-error: not an array
    refuses(() => mx.compile(gelu)(3), "compile", "arrays");
  });

  test("writes nothing on the CPU", { skip: mx.backend().name !== "cpu" }, () => {
    const folder = temporaryFolder();
    const printed = program(
      `const f = mx.compile((a) => mx.tanh(mx.add(mx.multiply(mx.sin(a), a), 1)));
       console.log(f(mx.ones([1000]))[0].toTypedArray()[999].toFixed(4));`,
      { env: { TMPDIR: folder } },
    );
    assert.equal(printed, Math.tanh(Math.sin(1) + 1).toFixed(4));
    assert.deepEqual(readdirSync(folder), []);
  });
});
