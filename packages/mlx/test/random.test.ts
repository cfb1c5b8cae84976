import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as mx from "../src/index.js";
import { refuses, same } from "./support/assertions.js";
import { dense } from "./support/dense.js";
import { golden } from "./support/golden.js";

const { random } = mx;
const count = 100_000;

/** Computes mean and standard deviation. */
function moments(a: mx.MxArray): [number, number] {
  const { values } = dense(a);
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return [mean, Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length)];
}

/** Asserts mean and deviation within six standard errors. */
function distributed(a: mx.MxArray, mean: number, deviation: number): void {
  const [m, d] = moments(a);
  const error = (6 * deviation) / Math.sqrt(a.size);
  assert.ok(Math.abs(m - mean) < error, `mean ${m}, expected ${mean}`);
  assert.ok(Math.abs(d - deviation) < error, `deviation ${d}, expected ${deviation}`);
}

const shares = (a: mx.MxArray): Map<number, number> => {
  const found = new Map<number, number>();
  for (const v of dense(a).values) found.set(v, (found.get(v) ?? 0) + 1 / a.size);
  return found;
};

describe("random", () => {
  test("seeded noise equals MLX in Python to the bit", () => {
    for (const [name, seed] of [
      ["noise_42_256x256", 42],
      ["noise_7_384x256", 7],
      ["noise_4294967295_256x512", 4294967295],
    ] as const) {
      const expected = golden.get(name)!;
      const found = random.normal(expected.shape, { key: random.key(seed) });
      assert.deepEqual(found.shape, expected.shape);
      assert.deepEqual(found.toTypedArray(), expected.toTypedArray(), name);
    }
  });

  test("a key consists of the halves of its seed", () => {
    const halves = (seed: number | bigint): number[] =>
      Array.from(random.key(seed).toTypedArray() as Uint32Array);
    assert.deepEqual(halves(5), [0, 5]);
    assert.deepEqual(halves(2n ** 64n - 1n), [2 ** 32 - 1, 2 ** 32 - 1]);
    assert.deepEqual(halves(2 ** 40 + 3), [2 ** 8, 3]);
    for (const wrong of [-1, -1n, 2n ** 64n]) refuses(() => random.key(wrong), "randomKey", "2^64-1");
    for (const wrong of [1.5, Number.NaN, Number.POSITIVE_INFINITY])
      refuses(() => random.key(wrong), "randomKey", String(wrong));
    refuses(() => random.seed(0.5), "randomSeed", "0.5");
  });

  test("the same key gives the same numbers, another key others", () => {
    const draw = (seed: number): mx.MxArray => random.uniform([8], { key: random.key(seed) });
    assert.deepEqual(draw(1).toTypedArray(), draw(1).toTypedArray());
    assert.notDeepEqual(draw(1).toTypedArray(), draw(2).toTypedArray());
  });

  test("split gives independent keys", () => {
    const keys = random.split(random.key(3), 3);
    assert.deepEqual([keys.shape, keys.dtype], [[3, 2], "uint32"]);
    const rows = [0, 1, 2].map((i) => String(mx.slice(keys, [i]).toTypedArray()));
    assert.equal(new Set(rows).size, 3);
    assert.deepEqual(random.split(random.key(3)).shape, [2, 2]);
    refuses(() => random.split(mx.ones([3])), "randomSplit", "uint32");
    refuses(() => random.split(random.key(1), -1), "randomSplit");
  });

  test("seed restarts this thread's sequence", () => {
    random.seed(11);
    const [first, second] = [random.normal([4]), random.normal([4])];
    random.seed(11n);
    const again = random.normal([4]);
    assert.deepEqual(again.toTypedArray(), first.toTypedArray());
    assert.notDeepEqual(second.toTypedArray(), first.toTypedArray());
  });

  test("the sequence equals MLX's: each draw splits the state and uses the second half", () => {
    for (const seed of [0, 11, 2n ** 40n + 3n, 2n ** 64n - 1n]) {
      random.seed(seed);
      let state = random.key(seed);
      for (let i = 0; i < 20; i++) {
        const halves = random.split(state);
        const key = mx.slice(halves, [1]);
        assert.deepEqual(random.uniform([3]).toTypedArray(), random.uniform([3], { key }).toTypedArray());
        state = mx.slice(halves, [0]);
      }
    }
    for (const wrong of [-1, 2n ** 64n]) refuses(() => random.seed(wrong), "randomSeed", "2^64-1");
  });

  test("the sequence survives an aborted evaluation", async () => {
    const draws = 60;
    random.seed(5);
    for (let i = 0; i < draws; i++) random.normal([1]).dispose();
    const [next, after] = [random.normal([4]).toTypedArray(), random.normal([count])];
    const aborted = async (ms: number): Promise<boolean> => {
      random.seed(5);
      using work = mx.scope(() => {
        let a = mx.full([1024, 1024], 0.5);
        for (let i = 0; i < draws; i++) a = mx.add(mx.sin(a), random.normal([1024, 1024]));
        return a;
      });
      const controller = new AbortController();
      const pending = mx.evaluate(work, { signal: controller.signal });
      await sleep(ms);
      controller.abort();
      return pending.then(
        () => false,
        () => true,
      );
    };
    for (const ms of [20, 100, 200]) {
      assert.ok(await aborted(ms), "the work was too short to abort");
      assert.deepEqual(random.normal([4]).toTypedArray(), next);
      const numbers = random.normal([count]);
      distributed(numbers, 0, 1);
      assert.deepEqual(numbers.toTypedArray(), after.toTypedArray());
    }
  });

  test("normal", () => {
    distributed(random.normal([count], { key: random.key(1) }), 0, 1);
    distributed(random.normal([count], { key: random.key(2), loc: 3, scale: 0.5 }), 3, 0.5);
    for (const dtype of ["float16", "bfloat16"] as const) {
      const a = random.normal([count], { key: random.key(3), dtype });
      assert.equal(a.dtype, dtype);
      distributed(a, 0, 1);
    }
    refuses(() => random.normal([2], { dtype: "int32" }), "randomNormal");
    refuses(() => random.normal([-1]), "randomNormal");
    refuses(() => random.normal([2], { key: mx.ones([2]) }), "randomNormal", "uint32");
  });

  test("uniform", () => {
    const a = random.uniform([count], { key: random.key(4), low: -2, high: 4 });
    distributed(a, 1, 6 / Math.sqrt(12));
    assert.ok(dense(a).values.every((v) => v >= -2 && v < 4));
    const rows = random.uniform([count, 2], {
      key: random.key(5),
      low: mx.array([0, 10]),
      high: mx.array([1, 30]),
    });
    distributed(mx.slice(rows, [null, 1]), 20, 20 / Math.sqrt(12));
  });

  test("randint", () => {
    const a = random.randint(-2, 3, [count], { key: random.key(6) });
    assert.equal(a.dtype, "int32");
    const found = shares(a);
    assert.deepEqual(
      [...found.keys()].sort((p, q) => p - q),
      [-2, -1, 0, 1, 2],
    );
    for (const share of found.values()) assert.ok(Math.abs(share - 0.2) < 0.01, String(share));
    assert.equal(random.randint(0, 9, [1], { dtype: "uint8", key: random.key(1) }).dtype, "uint8");
    refuses(() => random.randint(0, 1, [3], { dtype: "float32" }), "randomInt");
  });

  test("bernoulli", () => {
    const a = random.bernoulli(0.3, [count], { key: random.key(7) });
    assert.equal(a.dtype, "bool");
    distributed(a, 0.3, Math.sqrt(0.21));
    same(random.bernoulli(mx.array([0, 1]), [2], { key: random.key(8) }), [0, 1]);
  });

  test("truncatedNormal", () => {
    const a = random.truncatedNormal(-1, 2, [count], { key: random.key(9) });
    // Mean and deviation of the normal distribution truncated to [-1, 2].
    distributed(a, 0.22964, 0.72204);
    assert.ok(dense(a).values.every((v) => v >= -1 && v <= 2));
  });

  test("gumbel", () =>
    distributed(random.gumbel([count], { key: random.key(10) }), 0.5772157, Math.PI / Math.sqrt(6)));

  test("categorical", () => {
    const logits = mx.broadcastTo(mx.log(mx.array([0.1, 0.2, 0.7])), [count, 3]);
    const found = shares(random.categorical(logits, { key: random.key(11) }));
    for (const [choice, share] of [0.1, 0.2, 0.7].entries())
      assert.ok(Math.abs(found.get(choice)! - share) < 0.01);
    const columns = random.categorical(mx.transpose(logits), { axis: 0, key: random.key(12) });
    assert.deepEqual(columns.shape, [count]);
    assert.ok(Math.abs(shares(columns).get(2)! - 0.7) < 0.01);
    refuses(() => random.categorical(mx.ones([3]), { axis: 4 }), "randomCategorical", "[3]");
  });

  test("permutation", () => {
    const ordered = mx.arange(1000, { dtype: "int32" });
    const mixed = dense(random.permutation(ordered, { key: random.key(13) })).values;
    assert.notDeepEqual(mixed, dense(ordered).values);
    assert.deepEqual(
      mixed.toSorted((p, q) => p - q),
      dense(ordered).values,
    );
    const rows = mx.reshape(ordered, [10, 100]);
    const turned = dense(random.permutation(rows, { axis: 1, key: random.key(14) })).values;
    // Whole columns move: each row keeps its numbers, in the same order as the others.
    for (let row = 1; row < 10; row++)
      for (let i = 0; i < 100; i++) assert.equal(turned[row * 100 + i], turned[i]! + row * 100);
    refuses(() => random.permutation(ordered, { axis: 4 }), "randomPermutation");
  });
});
