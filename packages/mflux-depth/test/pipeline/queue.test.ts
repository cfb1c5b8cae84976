import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { digest, loadTinyWorld, smallRequest } from "../support/tiny-world.js";

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
