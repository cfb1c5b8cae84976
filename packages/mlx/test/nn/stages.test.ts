import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, type MxArray, memory, multiply, scope } from "../../src/index.js";
import { lazily, runStages, type Stages } from "../../src/nn/index.js";
import { values } from "../support/numbers.js";

describe("stages", () => {
  function* doubled(times: number, start: MxArray, left: string[]): Stages {
    let x = multiply(start, 1);
    try {
      for (let i = 0; i < times; i++) {
        const current = x;
        x = scope(() => multiply(current, 2));
        current.dispose();
        yield [x];
      }
      left.push("end");
      return multiply(x, 1);
    } finally {
      x.dispose();
    }
  }

  it("give the same result as one graph and one by one", async () => {
    const start = array([1, 3]);
    assert.deepEqual([...values(lazily(doubled(5, start, [])))], [32, 96]);
    for (const every of [1, 2, 7])
      assert.deepEqual([...values(await runStages(doubled(5, start, []), { every }))], [32, 96]);
  });

  it("end between two pieces after an abort and release their arrays", async () => {
    const start = array([1]);
    const handles = memory.liveHandles();
    const abort = new AbortController();
    const left: string[] = [];
    const parts = (function* (): Stages {
      let parts = 0;
      const inner = doubled(100, start, left);
      try {
        for (;;) {
          const step = inner.next();
          if (step.done) return step.value;
          if (++parts === 3) abort.abort(new Error("enough"));
          yield step.value;
        }
      } finally {
        inner.return(start);
      }
    })();
    await assert.rejects(runStages(parts, { signal: abort.signal }), /enough/);
    assert.deepEqual(left, []);
    assert.ok(memory.liveHandles() <= handles);
  });
});
