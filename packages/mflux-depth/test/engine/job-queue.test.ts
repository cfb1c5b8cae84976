import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { JobQueue } from "../../src/engine/job-queue.js";

const job = (signal?: AbortSignal) => ({
  job: { load: {}, request: { prompt: "x" } },
  signal,
  onEvent: () => {},
});

describe("a job", () => {
  test("that is cancelled while it waits leaves the queue at once", async () => {
    const queue = new JobQueue();
    const controller = new AbortController();
    const waiting = queue.add(job(controller.signal));
    controller.abort(new Error("cancelled"));
    await assert.rejects(waiting, /cancelled/);
    assert.equal(queue.length, 0);
  });

  test("that was cancelled before does not enter the queue", async () => {
    const queue = new JobQueue();
    await assert.rejects(queue.add(job(AbortSignal.abort(new Error("cancelled")))), /cancelled/);
    assert.equal(queue.length, 0);
  });
});
