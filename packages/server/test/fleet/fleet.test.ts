import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { JobObject } from "../../src/contract/index.js";
import { Fleet, type TestWorker, until } from "../support/fleet.js";
import { hashOfPixels } from "../support/png.js";
import { withoutRedis } from "../support/redis.js";
import { Scope } from "../support/scope.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

/** Long enough that a busy machine is not taken for a dead one, and short enough to wait for. */
const lease = { leaseMs: 4000, env: slowSteps };

const terminal = ["succeeded", "failed", "cancelled"];

/** Requires that a job succeeded, and that its history says so once. */
async function requireOneResult(fleet: Fleet, job: JobObject): Promise<void> {
  assert.equal(job.state, "succeeded", JSON.stringify(job.error));
  const events = await fleet.events(job.id);
  const ends = events.filter(({ event }) => terminal.includes(event));
  assert.deepEqual([ends.length, events.at(-1)], [1, ends[0]]);
  assert.equal(ends[0]!.data.attempt, job.attempt);
  const started = events.filter(({ event }) => event === "started").map(({ data }) => data.attempt);
  assert.deepEqual(started, [...new Set(started)], "an attempt started twice");
  assert.equal(job.images.length, 1);
}

/** The hash of the pixels of a job's image. */
async function pixelsOf({ api }: Fleet, id: string): Promise<string> {
  const image = await api.fetch(`/v1/jobs/${id}/image?format=png`);
  assert.equal(image.status, 200);
  return hashOfPixels(new Uint8Array(await image.arrayBuffer()));
}

// They wait for most of their time.
describe("a fleet", { skip: withoutRedis, concurrency: 2 }, () => {
  describe("of three workers", { concurrency: 1 }, () => {
    const scope = new Scope("three-workers");
    let fleet: Fleet;
    let workers: readonly [TestWorker, TestWorker, TestWorker];

    before(async () => {
      fleet = await Fleet.start(scope, lease);
      workers = [await fleet.worker("a"), await fleet.worker("b"), await fleet.worker("c")];
    });
    after(() => scope.end());

    test("60 jobs have 60 results, each once, while a worker is killed, one stops for a while and one is cut off", async () => {
      const [killed, stopped, cut] = workers;
      // All wait before the first begins, so that workers are busy when something happens to them.
      await fleet.api.fetch("/v1/queue/pause", { method: "POST" });
      const jobs: JobObject[] = [];
      for (let seed = 1; seed <= 60; seed++)
        jobs.push(await fleet.api.submit({ request: { width: 16, height: 16, steps: 1, seed } }));
      await fleet.api.fetch("/v1/queue/resume", { method: "POST" });
      const busy = async (id: string): Promise<void> => void (await fleet.state(id, "busy"));
      await busy(stopped.id);
      stopped.process.child.kill("SIGSTOP");
      await busy(cut.id);
      cut.toApi.cut("silent");
      cut.toRedis.cut("silent");
      await busy(killed.id);
      await killed.process.stop("SIGKILL");
      // No worker is left until two of them come back.
      await fleet.state(stopped.id, "lost");
      await fleet.state(cut.id, "lost");
      stopped.process.child.kill("SIGCONT");
      cut.toApi.restore();
      cut.toRedis.restore();
      const ended = await Promise.all(jobs.map(({ id }) => fleet.ended(id)));
      for (const job of ended) await requireOneResult(fleet, job);
      assert.equal(new Set(ended.map(({ image }) => image!.sha256)).size, 60);
      assert.ok(
        ended.some(({ attempt }) => attempt > 1),
        "some jobs had to be begun again",
      );
      assert.equal((await fleet.state(killed.id, "lost")).job, null);
    });

    test("a job of a dead worker goes on at another one where it stopped, with the same pixels", async () => {
      const undisturbed = await fleet.ended((await fleet.api.submit(longJob)).id);
      assert.equal(undisturbed.state, "succeeded");
      const { id } = await fleet.api.submit(longJob);
      await fleet.checkpointed(id);
      const { worker } = await fleet.job(id);
      await workers.find((one) => one.id === worker)!.process.stop("SIGKILL");
      const job = await fleet.ended(id);
      await requireOneResult(fleet, job);
      assert.notEqual(job.worker, worker);
      const resumed = (await fleet.events(id)).find(({ event }) => event === "resumed");
      assert.ok(Number(resumed?.data.from_step) >= 2, `resumed from ${resumed?.data.from_step}`);
      assert.equal(await pixelsOf(fleet, id), await pixelsOf(fleet, undisturbed.id));
    });
  });

  test("another worker takes over within the lock, the interval of checks and two seconds", async (t) => {
    const fleet = await Fleet.start(t, { env: slowSteps });
    const first = await fleet.worker("a");
    const second = await fleet.worker("b");
    const { id } = await fleet.api.submit(longJob);
    const { worker } = await fleet.reached(id, 2);
    const [dies, stays] = worker === first.id ? [first, second] : [second, first];
    const [lock, check, grace] = [30_000, 5000, 2000];
    await dies.process.stop("SIGKILL");
    const died = performance.now();
    await until(async () => ((await fleet.job(id)).worker === stays.id ? true : undefined));
    const took = performance.now() - died;
    t.diagnostic(`taken over after ${(took / 1000).toFixed(1)} s`);
    assert.ok(took < lock + check + grace, `it took ${took} ms`);
  });
});
