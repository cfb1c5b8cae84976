import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as mx from "../src/index.js";
import { refuses, same } from "./support/assertions.js";
import { program } from "./support/process.js";

describe("scope", () => {
  test("frees ten thousand operations", async () => {
    const x = mx.full([256], 1);
    mx.evaluateSync(x);
    const before = [mx.memory.activeMemory(), mx.memory.liveHandles()];
    const total = mx.scope(() => {
      let sum = mx.zeros([256]);
      for (let i = 0; i < 10_000; i++) {
        sum = mx.add(sum, x);
        if (i % 100 === 99) mx.evaluateSync(sum);
      }
      assert.ok(mx.memory.liveHandles() >= before[1]! + 10_000);
      return (sum.toTypedArray() as Float32Array)[7];
    });
    assert.equal(total, 10_000);
    assert.deepEqual([mx.memory.activeMemory(), mx.memory.liveHandles()], before);
  });

  test("keeps returned arrays, wherever they are in the result", () => {
    const before = mx.memory.liveHandles();
    const made: mx.MxArray[] = [];
    const fresh = (value: number): mx.MxArray => {
      const a = mx.full([2], value);
      made.push(a);
      return a;
    };
    const kept = mx.scope(() => {
      const [list, deep, inMap, inSet, twice] = [fresh(1), fresh(2), fresh(3), fresh(4), fresh(5)];
      fresh(6);
      const cyclic: Record<string, unknown> = { twice };
      cyclic.self = cyclic;
      return {
        list: [list, null],
        part: { deep, text: "x", cyclic, twice },
        map: new Map([["a", inMap]]),
        set: new Set([inSet]),
      };
    });
    assert.deepEqual(
      made.map((a) => a.disposed),
      [false, false, false, false, false, true],
    );
    assert.equal(mx.memory.liveHandles(), before + 5);
    same(kept.map.get("a")!, [3, 3]);
    same(kept.part.deep, [2, 2]);
    for (const a of made) a.dispose();
    assert.equal(mx.memory.liveHandles(), before);
  });

  test("does not free outside arrays", () => {
    const outside = mx.ones([2]);
    mx.scope(() => mx.add(outside, 1));
    same(outside, [1, 1]);
    assert.equal(
      mx.scope(() => outside),
      outside,
    );
    same(outside, [1, 1]);
  });

  test("passes arrays kept by an inner scope to the outer one", () => {
    const [inner, outer, kept] = mx.scope(() => {
      const inner = mx.scope(() => mx.ones([2]));
      assert.equal(inner.disposed, false);
      const kept = mx.scope(() => mx.scope(() => mx.full([2], 3)));
      return [[() => inner.disposed], [() => mx.isArray(inner)], kept] as const;
    });
    assert.equal(inner[0](), true);
    assert.equal(outer[0](), true);
    same(kept, [3, 3]);
  });

  test("frees everything after an exception and rethrows it unchanged", () => {
    const before = mx.memory.liveHandles();
    const thrown = new Error("mine");
    assert.throws(
      () =>
        mx.scope(() => {
          mx.ones([2]);
          mx.scope(() => {
            mx.ones([3]);
            throw thrown;
          });
        }),
      (error) => error === thrown,
    );
    assert.equal(mx.memory.liveHandles(), before);
    // The scopes are closed: new arrays stay alive.
    const after = mx.ones([2]);
    same(after, [1, 1]);
    after.dispose();
  });

  test("accepts arrays that the function disposed itself", () => {
    const a = mx.scope(() => {
      const a = mx.ones([2]);
      a.dispose();
      return a;
    });
    assert.equal(a.disposed, true);
  });

  test("rejects a promise and frees the arrays made before it", () => {
    const before = mx.memory.liveHandles();
    refuses(() => mx.scope(async () => mx.ones([2])), "scope", "synchronous");
    refuses(() => mx.scope(() => Promise.reject(new Error("unseen"))), "scope", "promise");
    assert.equal(mx.memory.liveHandles(), before);
  });

  test("frees the nodes of a lazy graph before its evaluation", () => {
    const y = mx.scope(() => {
      const x = mx.full([1000], 2);
      return mx.sum(mx.multiply(x, mx.add(x, 1)));
    });
    assert.equal(y.item(), 6000);
  });

  test("arraysIn finds each array once", () => {
    const a = mx.ones([1]);
    assert.deepEqual(mx.arraysIn([a, { a }, new Map([[1, [a]]])]), [a]);
    assert.deepEqual(mx.arraysIn(a), [a]);
    for (const nothing of [null, undefined, 3, "text", new Float32Array(3), () => a])
      assert.deepEqual(mx.arraysIn(nothing), []);
  });
});

describe("the garbage collector", () => {
  test("frees arrays outside scopes", () => {
    const printed = program(
      `
      const tick = () => new Promise((resolve) => setImmediate(resolve));
      const megabyte = 2 ** 20;
      const before = [mx.memory.activeMemory(), mx.memory.liveHandles()];
      (() => { for (let i = 0; i < 50; i++) mx.evaluateSync(mx.full([megabyte / 4], i)); })();
      const during = mx.memory.activeMemory() - before[0];
      for (let i = 0; i < 5; i++) { gc(); await tick(); }
      const after = [mx.memory.activeMemory() - before[0], mx.memory.liveHandles() - before[1]];
      console.log(JSON.stringify({ during: during / megabyte, after: after[0] / megabyte, handles: after[1] }));
      `,
      { flags: ["--expose-gc"] },
    );
    const { during, after, handles } = JSON.parse(printed) as Record<string, number>;
    assert.ok(during! >= 49, `only ${during} MiB were live`);
    assert.ok(after! <= 2 && handles! <= 4, `${after} MiB and ${handles} handles stay`);
  });

  test("knows the size of arrays", () => {
    // 3 GB in total, in a heap that V8 itself would consider small.
    const printed = program(`
      let most = 0;
      for (let i = 0; i < 300; i++) {
        mx.evaluateSync(mx.full([10 * 2 ** 18], i));
        if (i % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
        most = Math.max(most, mx.memory.activeMemory());
      }
      console.log(most);
    `);
    assert.ok(Number(printed) < 1e9, `${printed} bytes were live at once`);
  });
});
