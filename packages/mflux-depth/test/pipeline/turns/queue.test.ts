import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { digest, exampleImage, inMemory, loadTinyWorld, smallRequest } from "../../support/tiny-world.js";

describe("generations of one instance", () => {
  test("run one after another, in the order of the calls", async () => {
    using flux = await loadTinyWorld({ memory: "resident" });
    const seeds = [1, 2, 3];
    const alone: string[] = [];
    for (const seed of seeds) alone.push(digest(await flux.generate({ ...smallRequest, seed })));
    const reports: number[] = [];
    const together = await Promise.all(
      seeds.map(async (seed) => {
        for await (const event of flux.steps({ ...smallRequest, seed })) {
          reports.push(seed);
          if (event.type === "result") return digest(event.result);
        }
        return "";
      }),
    );
    assert.deepEqual(together, alone);
    assert.deepEqual(reports, reports.toSorted());
  });

  test("do not notice when one of them is aborted while it waits", async () => {
    using flux = await loadTinyWorld({ memory: "resident" });
    const controller = new AbortController();
    const reason = new Error("no longer wanted");
    const first = flux.generate(smallRequest);
    const second = flux.generate({ ...smallRequest, signal: controller.signal });
    const third = flux.generate(smallRequest);
    await sleep(5);
    controller.abort(reason);
    await assert.rejects(second, (error) => error === reason);
    assert.equal(digest(await third), digest(await first));
  });
});

describe("generations of two instances", () => {
  test("run at the same time without disturbing each other", async () => {
    using one = await loadTinyWorld();
    using other = await loadTinyWorld();
    const expected = digest(await one.generate(smallRequest));
    const results = await Promise.all([one.generate(smallRequest), other.generate(smallRequest)]);
    assert.deepEqual(results.map(digest), [expected, expected]);
  });
});

describe("a call that waits for a generation whose loop is busy", { timeout: 60_000 }, () => {
  const photo = exampleImage("portrait.png");

  for (const memory of ["low", "resident"] as const)
    test(`begins when the generation has ended, also inside the loop itself: memory ${memory}`, async () => {
      using flux = await loadTinyWorld({ memory });
      const expected = digest(await flux.generate(smallRequest));
      const order: string[] = [];
      const results: string[] = [];
      for await (const event of flux.steps(smallRequest)) {
        if (event.type === "step") {
          await flux.estimateDepth(photo);
          results.push(digest(await flux.generate(smallRequest)));
        }
        order.push(event.type === "stage" ? `${event.stage} ${event.state}` : event.type);
        if (event.type === "result") results.push(digest(event.result));
      }
      assert.deepEqual(results, [expected, expected, expected]);
      assert.deepEqual(order, [
        ...["text start", "text end", "control start", "control end", "denoise start", "step", "step"],
        ...["denoise end", "decode start", "decode end", "result"],
      ]);
    });

  test("begins although the loop's iterator has been abandoned", async () => {
    using flux = await loadTinyWorld();
    const baseline = inMemory();
    const abandoned = flux.steps(smallRequest);
    for (let event = await abandoned.next(); !event.done && event.value.type !== "step"; )
      event = await abandoned.next();
    const result = await flux.generate(smallRequest);
    assert.ok(result.image.data.length > 0);
    assert.deepEqual(inMemory(), baseline);
  });

  test("begins at once when an abandoned generation is aborted", async () => {
    using flux = await loadTinyWorld();
    const controller = new AbortController();
    const baseline = inMemory();
    const abandoned = flux.steps({ ...smallRequest, signal: controller.signal });
    for (let event = await abandoned.next(); !event.done && event.value.type !== "step"; )
      event = await abandoned.next();
    const reason = new Error("enough");
    controller.abort(reason);
    await flux.estimateDepth(photo);
    assert.deepEqual(inMemory(), baseline);
    await assert.rejects(abandoned.next(), (error) => error === reason);
  });

  test("does not keep the loop from ending its generation early", async () => {
    using flux = await loadTinyWorld();
    const long = { ...smallRequest, width: 256, height: 256, steps: 50 };
    let steps = 0;
    let waiting: Promise<unknown> = Promise.resolve();
    for await (const event of flux.steps(long)) {
      if (event.type !== "step") continue;
      steps++;
      waiting = flux.estimateDepth(photo);
      break;
    }
    await waiting;
    assert.equal(steps, 1);
  });

  test("gets the error of the generation to the loop, not to itself", async () => {
    using flux = await loadTinyWorld();
    const controller = new AbortController();
    const reason = new Error("enough");
    const loop = async (): Promise<void> => {
      for await (const event of flux.steps({ ...smallRequest, signal: controller.signal }))
        if (event.type === "step") {
          controller.abort(reason);
          await flux.estimateDepth(photo);
        }
    };
    await assert.rejects(loop(), (error) => error === reason);
  });
});

describe("an abandoned generation", () => {
  test("pauses while its loop is busy", async () => {
    const log: string[] = [];
    using flux = await loadTinyWorld({ onProgress: ({ component }) => log.push(component) });
    for await (const event of flux.steps(smallRequest))
      if (event.type === "stage" && event.stage === "control" && event.state === "end") {
        const before = log.length;
        await sleep(300);
        assert.equal(log.length, before);
      }
    assert.ok(log.includes("transformer"));
  });
});
