import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { JobService } from "../../src/jobs/service.js";
import { Repeats } from "../../src/openai/repeats.js";
import { depthMap } from "../support/pictures.js";
import { temporaryFolder } from "../support/server.js";

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

describe("the jobs of a request", () => {
  test("are cancelled some time after their client left", async () => {
    const repeats = new Repeats(service, graceMs);
    const { jobs, leave } = await repeats.join("a", false, start);
    leave("left");
    assert.equal(service.get(jobs[0]!).state, "queued");
    assert.equal((await service.finished(jobs[0]!)).state, "cancelled");
  });

  test("go on while another client waits", async () => {
    const repeats = new Repeats(service, graceMs);
    const first = await repeats.join("b", false, start);
    const second = await repeats.join("b", true, start);
    assert.deepEqual(second.jobs, first.jobs);
    first.leave("left");
    await new Promise((resolve) => setTimeout(resolve, 3 * graceMs));
    assert.equal(service.get(first.jobs[0]!).state, "queued");
    second.leave("left");
    assert.equal((await service.finished(first.jobs[0]!)).state, "cancelled");
  });

  test("are made anew after a failure", async () => {
    const repeats = new Repeats(service, graceMs);
    const first = await repeats.join("c", false, start);
    first.leave("failed");
    const second = await repeats.join("c", true, start);
    assert.notDeepEqual(second.jobs, first.jobs);
    second.leave("finished");
    repeats.close();
  });

  test("are made anew after their deletion", async () => {
    const repeats = new Repeats(service, graceMs);
    const first = await repeats.join("d", false, start);
    await service.cancel(first.jobs[0]!);
    first.leave("finished");
    await service.remove(first.jobs[0]!);
    const second = await repeats.join("d", true, start);
    assert.notDeepEqual(second.jobs, first.jobs);
    second.leave("finished");
    repeats.close();
  });

  test("that finished after their client left are there for a repeat", async () => {
    const repeats = new Repeats(service, graceMs);
    const first = await repeats.join("e", false, async () => {
      const request = { prompt: "x", depth_image: { blob: blob.id }, steps: 1, width: 32, height: 32 };
      return [(await service.submit({ kind: "generate", request, priority: 1 })).job.id];
    });
    await service.queue.resume();
    await service.finished(first.jobs[0]!);
    await service.queue.pause();
    first.leave("left");
    await new Promise((resolve) => setTimeout(resolve, 3 * graceMs));
    const second = await repeats.join("e", true, start);
    assert.deepEqual(second.jobs, first.jobs);
    second.leave("finished");
    repeats.close();
  });

  test("are there for a repeat that comes after a restart", async () => {
    const before = new Repeats(service, graceMs);
    const first = await before.join("f", false, start);
    before.close();
    const repeats = new Repeats(service, graceMs);
    const second = await repeats.join("f", true, start);
    assert.deepEqual(second.jobs, first.jobs);
    second.leave("failed");
    repeats.close();
  });

  test("are cancelled some time after a restart", async () => {
    const before = new Repeats(service, graceMs);
    const { jobs } = await before.join("g", false, start);
    before.close();
    new Repeats(service, graceMs);
    assert.equal((await service.finished(jobs[0]!)).state, "cancelled");
    assert.deepEqual(
      service.imageRequests.all().filter(({ content }) => content === "g"),
      [],
    );
  });
});
