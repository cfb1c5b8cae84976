import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { IdleWatch } from "../../src/engine/idle-watch.js";
import { Engine, type EngineEvent } from "../../src/engine/index.js";
import { isAlive, job } from "../support/engine.js";
import { until } from "../support/waiting.js";

test("a check of memory that throws at once releases nothing and ends nothing", async () => {
  let asked = 0;
  const shortOfMemory = (): never => {
    asked++;
    throw new Error("no such file");
  };
  const watch = new IdleWatch({ idleSeconds: 60, pressureSeconds: 0.01, shortOfMemory }, () =>
    assert.fail("it released the model"),
  );
  watch.start();
  await until(() => asked > 2);
  watch.stop();
});

describe("a model", () => {
  const engine = new Engine();
  after(() => engine.close());

  test("is not released while it is used", async () => {
    const controller = new AbortController();
    const running = assert.rejects(engine.generate(job({ steps: 50 }), { signal: controller.signal }));
    assert.equal(await engine.evict(), null);
    controller.abort();
    await running;
  });

  test("is released on request, and its process ends", async () => {
    await engine.generate(job({ steps: 1 }));
    const pid = engine.pid!;
    const evicted = await engine.evict();
    assert.equal(evicted?.model, "tiny-world");
    assert.ok(evicted.bytes > 50e6);
    assert.ok(!isAlive(pid));
    assert.equal(engine.held, null);
    assert.equal(await engine.evict(), null);
  });

  test("has left memory before the next job starts a process; a job that waits for that can be cancelled", async () => {
    await engine.generate(job({ steps: 1 }));
    const pid = engine.pid!;
    // A stopped process takes long to end.
    process.kill(pid, "SIGSTOP");
    const released = engine.evict();
    const began = performance.now();
    await assert.rejects(engine.generate(job(), { signal: AbortSignal.timeout(200) }), /timeout/);
    assert.ok(performance.now() - began < 2000);
    const aliveAtStart: boolean[] = [];
    const onEvent = ({ type }: EngineEvent): void => {
      if (type === "started") aliveAtStart.push(isAlive(pid));
    };
    await engine.generate(job({ steps: 1 }), { onEvent });
    assert.deepEqual(aliveAtStart, [false]);
    assert.equal((await released)?.model, "tiny-world");
  });

  for (const [when, options] of [
    ["after a time without jobs", { idleSeconds: 0.05 }],
    ["when memory is short", { pressureSeconds: 0.05, shortOfMemory: async () => true }],
  ] as const)
    test(`is released ${when}`, async () => {
      const other = new Engine(options);
      await other.generate(job({ steps: 1 }));
      const pid = other.pid!;
      await until(() => other.pid === undefined);
      await until(() => !isAlive(pid));
      await other.close();
    });

  test("is kept for times that are longer than Node's longest timer", async () => {
    const other = new Engine({ idleSeconds: 1e9 });
    await other.generate(job({ steps: 1 }));
    await sleep(100);
    assert.equal(other.held?.model, "tiny-world");
    await other.close();
  });
});
