import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { JobService } from "../../src/jobs/service.js";
import { Attempts } from "../../src/openai/attempts.js";
import { depthMap, temporaryFolder } from "../support/server.js";

const service = await JobService.open({
  folder: temporaryFolder(),
  load: { model: "tiny-world", quantize: "none" },
});
after(() => service.close());
await service.queue.pause();
const { blob } = await service.blobs.put(depthMap);

const start = async (): Promise<readonly string[]> => {
  const request = { prompt: "a cube", depth_image: { blob: blob.id } };
  return [(await service.submit({ kind: "generate", request })).job.id];
};
const graceMs = 50;

describe("the jobs of an attempt", () => {
  test("are cancelled some time after their client left", async () => {
    const attempts = new Attempts(service, graceMs);
    const { jobs, leave } = await attempts.join("a", false, start);
    leave("left");
    assert.equal(service.get(jobs[0]!).state, "queued");
    assert.equal((await service.finished(jobs[0]!)).state, "cancelled");
  });

  test("go on while another client waits", async () => {
    const attempts = new Attempts(service, graceMs);
    const first = await attempts.join("b", false, start);
    const second = await attempts.join("b", true, start);
    assert.deepEqual(second.jobs, first.jobs);
    first.leave("left");
    await new Promise((resolve) => setTimeout(resolve, 3 * graceMs));
    assert.equal(service.get(first.jobs[0]!).state, "queued");
    second.leave("left");
    assert.equal((await service.finished(first.jobs[0]!)).state, "cancelled");
  });

  test("are made anew after a failure", async () => {
    const attempts = new Attempts(service, graceMs);
    const first = await attempts.join("c", false, start);
    first.leave("failed");
    const second = await attempts.join("c", true, start);
    assert.notDeepEqual(second.jobs, first.jobs);
    second.leave("finished");
    attempts.close();
  });

  test("are made anew after their deletion", async () => {
    const attempts = new Attempts(service, graceMs);
    const first = await attempts.join("d", false, start);
    await service.cancel(first.jobs[0]!);
    first.leave("finished");
    await service.remove(first.jobs[0]!);
    const second = await attempts.join("d", true, start);
    assert.notDeepEqual(second.jobs, first.jobs);
    second.leave("finished");
    attempts.close();
  });

  test("that finished after their client left are there for a repeat", async () => {
    const attempts = new Attempts(service, graceMs);
    const first = await attempts.join("e", false, async () => {
      const request = { prompt: "x", depth_image: { blob: blob.id }, steps: 1, width: 64, height: 64 };
      return [(await service.submit({ kind: "generate", request, priority: 1 })).job.id];
    });
    await service.queue.resume();
    await service.finished(first.jobs[0]!);
    await service.queue.pause();
    first.leave("left");
    await new Promise((resolve) => setTimeout(resolve, 3 * graceMs));
    const second = await attempts.join("e", true, start);
    assert.deepEqual(second.jobs, first.jobs);
    second.leave("finished");
    attempts.close();
  });
});
