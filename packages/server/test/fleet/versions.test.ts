import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobObject } from "../../src/contract/index.js";
import { Fleet, until } from "../support/fleet.js";
import { mismatch, nextRelease } from "../support/other-release.js";
import { withoutRedis } from "../support/redis.js";
import { longJob, slowSteps } from "../support/slow-steps.js";
import type { WorkerProcess } from "../support/worker-process.js";

const options = { skip: withoutRedis };
const lease = { leaseMs: 4000 };

/** Waits until a worker has been refused several times, and requires that it has said so once. */
async function requireWaiting(fleet: Fleet, worker: WorkerProcess, reason: RegExp): Promise<void> {
  const refusals = (): number => fleet.api.log.match(/"status":426/g)?.length ?? 0;
  const before = refusals();
  await until(async () => refusals() >= before + 4 || undefined);
  const said = worker.log.split("\n").filter((line) => line.includes("no new jobs until the API answers"));
  assert.equal(said.filter((line) => reason.test(line)).length, 1, worker.log);
  assert.equal(worker.child.exitCode, null, "it waits");
}

/** Requires that nobody has begun a job. */
function requireUntouched({ state, attempt }: JobObject): void {
  assert.deepEqual([state, attempt], ["queued", 0]);
}

test(
  "a worker newer than its API waits, says so and takes no job, until the API is upgraded",
  options,
  async (t) => {
    const fleet = await Fleet.start(t, lease);
    const { id } = await fleet.api.submit();
    const worker = fleet.workerThatWaits("a", nextRelease);
    await requireWaiting(fleet, worker, mismatch("newer worker"));
    assert.deepEqual(await fleet.workers(), []);
    requireUntouched(await fleet.job(id));
    await fleet.restartApi(nextRelease);
    const job = await fleet.ended(id);
    assert.deepEqual([job.state, job.attempt, job.worker], ["succeeded", 1, await worker.known]);
  },
);

test(
  "a worker older than its API waits, says so and takes no job, which one of the API's version does",
  options,
  async (t) => {
    const fleet = await Fleet.start(t, { ...lease, apiEnv: nextRelease });
    const { id } = await fleet.api.submit();
    const old = fleet.workerThatWaits("a", {});
    await requireWaiting(fleet, old, mismatch("older worker"));
    requireUntouched(await fleet.job(id));
    const upgraded = fleet.workerThatWaits("b", nextRelease);
    const job = await fleet.ended(id);
    assert.deepEqual([job.state, job.worker], ["succeeded", await upgraded.known]);
    assert.deepEqual(
      (await fleet.workers()).map((worker) => worker.id),
      [job.worker],
    );
  },
);

test("a job that runs as the API is upgraded goes to an upgraded worker", options, async (t) => {
  const fleet = await Fleet.start(t, lease);
  const old = fleet.workerThatWaits("a", slowSteps);
  const first = await old.known;
  const { id } = await fleet.api.submit(longJob);
  assert.equal((await fleet.reached(id, 2)).worker, first);
  await fleet.restartApi(nextRelease);
  await requireWaiting(fleet, old, mismatch("older worker"));
  const upgraded = fleet.workerThatWaits("b", nextRelease);
  const job = await fleet.ended(id);
  assert.deepEqual([job.state, job.attempt, job.worker], ["succeeded", 2, await upgraded.known]);
});

test("a worker says that its API was upgraded, although it was away before", options, async (t) => {
  const fleet = await Fleet.start(t, lease);
  const old = fleet.workerThatWaits("a", {});
  await old.known;
  await fleet.restartApi(nextRelease);
  await requireWaiting(fleet, old, mismatch("older worker"));
});
