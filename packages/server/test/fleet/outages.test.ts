import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobObject } from "../../src/contract/index.js";
import { Fleet, type TestWorker, until } from "../support/fleet.js";
import { withoutRedis } from "../support/redis.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

const lease = { leaseMs: 4000, env: slowSteps };

/** Waits until a job has ended, and requires that it was done once. */
async function requireOneResult(fleet: Fleet, id: string): Promise<JobObject> {
  const job = await fleet.ended(id);
  assert.equal(job.state, "succeeded", JSON.stringify(job.error));
  const names = (await fleet.events(id)).map(({ event }) => event);
  assert.equal(names.filter((name) => name === "succeeded").length, 1, names.join());
  return job;
}

async function ready(fleet: Fleet): Promise<{ status: number; checks: Record<string, string> }> {
  const response = await fleet.api.fetch("/readyz");
  const { checks } = (await response.json()) as { checks: Record<string, string> };
  return { status: response.status, checks };
}

/** Requires that the API answers, and says what is missing. */
async function requireMissingRedis(fleet: Fleet): Promise<void> {
  const { status, checks } = await until(async () => {
    const answer = await ready(fleet);
    return answer.status === 503 ? answer : undefined;
  });
  assert.equal(status, 503);
  assert.match(checks.redis!, /Redis/);
  assert.equal((await fleet.api.fetch("/livez")).status, 200);
}

const isReady = (fleet: Fleet): Promise<true> =>
  until(async () => ((await ready(fleet)).status === 200 ? true : undefined));

/** A worker that has begun a long job, and another job that waits. */
async function busyFleet(t: Parameters<typeof Fleet.start>[0]): Promise<{
  fleet: Fleet;
  worker: TestWorker;
  running: string;
  waiting: string;
}> {
  const fleet = await Fleet.start(t, lease);
  const worker = await fleet.worker("a");
  const running = (await fleet.api.submit(longJob)).id;
  const waiting = (await fleet.api.submit()).id;
  await fleet.reached(running, 2);
  return { fleet, worker, running, waiting };
}

// They wait for most of their time.
describe("a fleet whose parts fail", { skip: withoutRedis, concurrency: 2 }, () => {
  test("no job is lost when Redis dies and comes back empty, and jobs are accepted meanwhile", async (t) => {
    const { fleet, running, waiting } = await busyFleet(t);
    await fleet.redis.kill();
    await requireMissingRedis(fleet);
    const late = (await fleet.api.submit()).id;
    assert.equal((await requireOneResult(fleet, running)).attempt, 1, "its worker went on without Redis");
    await fleet.redis.restart();
    await isReady(fleet);
    await requireOneResult(fleet, waiting);
    await requireOneResult(fleet, late);
  });

  test("no job is lost when the API is killed, and its worker delivers to the next one", async (t) => {
    const { fleet, worker, running, waiting } = await busyFleet(t);
    await fleet.restartApi();
    const job = await requireOneResult(fleet, running);
    assert.deepEqual([job.attempt, job.worker], [1, worker.id]);
    await requireOneResult(fleet, waiting);
  });

  test("an API that works goes on with its own job after it was killed", async (t) => {
    const fleet = await Fleet.start(t, { ...lease, apiWorks: true });
    const running = (await fleet.api.submit(longJob)).id;
    const waiting = (await fleet.api.submit()).id;
    await fleet.checkpointed(running);
    await fleet.restartApi();
    assert.equal((await requireOneResult(fleet, running)).worker, "local");
    assert.ok((await fleet.events(running)).some(({ event }) => event === "resumed"));
    await requireOneResult(fleet, waiting);
  });

  for (const how of ["closed", "silent"] as const) {
    test(`a worker whose line to the API is ${how} goes on and delivers later`, async (t) => {
      const { fleet, worker, running, waiting } = await busyFleet(t);
      worker.toApi.cut(how);
      await fleet.state(worker.id, "lost");
      assert.equal((await fleet.job(running)).state, "running", "it holds its lease at Redis");
      worker.toApi.restore();
      assert.equal((await requireOneResult(fleet, running)).attempt, 1);
      await requireOneResult(fleet, waiting);
    });

    test(`a worker whose line to Redis is ${how} keeps its job, and takes others once it is back`, async (t) => {
      const { fleet, worker, running, waiting } = await busyFleet(t);
      worker.toRedis.cut(how);
      assert.equal((await requireOneResult(fleet, running)).attempt, 1);
      assert.equal((await fleet.job(waiting)).state, "queued");
      worker.toRedis.restore();
      await requireOneResult(fleet, waiting);
    });

    test(`no job is lost while the API's line to Redis is ${how}`, async (t) => {
      const { fleet, running, waiting } = await busyFleet(t);
      fleet.redis.cut(how);
      await requireMissingRedis(fleet);
      const late = (await fleet.api.submit()).id;
      fleet.redis.restore();
      await isReady(fleet);
      assert.equal((await requireOneResult(fleet, running)).attempt, 1);
      await requireOneResult(fleet, waiting);
      await requireOneResult(fleet, late);
    });
  }

  test("a worker that was cut off finds its job gone to another, and what it says is dropped", async (t) => {
    const fleet = await Fleet.start(t, lease);
    const first = await fleet.worker("a");
    const { id } = await fleet.api.submit(longJob);
    await fleet.reached(id, 2);
    first.toApi.cut("silent");
    first.toRedis.cut("silent");
    const second = await fleet.worker("b");
    await until(async () => ((await fleet.job(id)).worker === second.id ? true : undefined));
    first.toApi.restore();
    first.toRedis.restore();
    const job = await requireOneResult(fleet, id);
    assert.deepEqual([job.attempt, job.worker], [2, second.id]);
    // It works again.
    await fleet.state(first.id, "idle");
  });
});
