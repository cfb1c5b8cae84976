import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { JobObject } from "../../src/contract/index.js";
import { Fleet, until } from "../support/fleet.js";
import { mismatch, nextRelease } from "../support/other-release.js";
import { withoutRedis } from "../support/redis.js";
import { Scope } from "../support/scope.js";
import { longJob, slowSteps } from "../support/slow-steps.js";
import type { WorkerProcess } from "../support/worker-process.js";

const lease = { leaseMs: 4000 };

/** Waits until a worker has been refused several times, and requires that it has said so once. */
async function requireWaiting(fleet: Fleet, worker: WorkerProcess, reason: RegExp): Promise<void> {
  const said = (): number =>
    worker.log
      .split("\n")
      .filter((line) => line.includes("no new jobs until the API answers") && reason.test(line)).length;
  await until(async () => said() > 0 || undefined);
  const refusals = (): number => fleet.api.log.match(/"status":426/g)?.length ?? 0;
  const before = refusals();
  // At most three workers ask, all equally often, so each of them has asked twice more by then.
  await until(async () => refusals() >= before + 9 || undefined);
  assert.equal(said(), 1, worker.log);
  assert.equal(worker.child.exitCode, null, "it waits");
}

/** Requires that nobody has begun a job. */
function requireUntouched({ state, attempt }: JobObject): void {
  assert.deepEqual([state, attempt], ["queued", 0]);
}

// They wait for most of their time.
describe("another release", { skip: withoutRedis, concurrency: 2 }, () => {
  test("a worker newer than its API waits, says so and takes no job, until the API is upgraded", async (t) => {
    const fleet = await Fleet.start(t, lease);
    const { id } = await fleet.api.submit();
    const worker = fleet.workerThatWaits("a", nextRelease);
    await requireWaiting(fleet, worker, mismatch("newer worker"));
    assert.deepEqual(await fleet.workers(), []);
    requireUntouched(await fleet.job(id));
    await fleet.restartApi(nextRelease);
    const job = await fleet.ended(id);
    assert.deepEqual([job.state, job.attempt, job.worker], ["succeeded", 1, await worker.known]);
  });

  describe("of an API that is upgraded while one worker runs a job and another is idle", {
    concurrency: 1,
  }, () => {
    const scope = new Scope("upgraded");
    let fleet: Fleet;
    let busy: WorkerProcess;
    let idle: WorkerProcess;
    let running: string;
    /** A worker of the API's release, started by the first test that needs it. */
    let upgraded: WorkerProcess | undefined;
    const upgrade = (): WorkerProcess => (upgraded ??= fleet.workerThatWaits("c", nextRelease));

    before(async () => {
      fleet = await Fleet.start(scope, lease);
      busy = fleet.workerThatWaits("a", slowSteps);
      const first = await busy.known;
      running = (await fleet.api.submit(longJob)).id;
      assert.equal((await fleet.reached(running, 2)).worker, first);
      idle = fleet.workerThatWaits("b", {});
      await idle.known;
      await fleet.restartApi(nextRelease);
    });
    after(() => scope.end());

    test("a worker says that its API was upgraded, although it was away before", () =>
      requireWaiting(fleet, idle, mismatch("older worker")));

    test("a new worker that is older waits, says so and takes no job, which one of the API's version does", async () => {
      const { id } = await fleet.api.submit();
      const old = fleet.workerThatWaits("d", {});
      await requireWaiting(fleet, old, mismatch("older worker"));
      requireUntouched(await fleet.job(id));
      const worker = await upgrade().known;
      const job = await fleet.ended(id);
      assert.deepEqual([job.state, job.worker], ["succeeded", worker]);
      assert.ok((await fleet.workers()).every((one) => !one.id.startsWith("d-")));
    });

    test("the job that runs goes to an upgraded worker", async () => {
      await requireWaiting(fleet, busy, mismatch("older worker"));
      const worker = await upgrade().known;
      const job = await fleet.ended(running);
      assert.deepEqual([job.state, job.attempt, job.worker], ["succeeded", 2, worker]);
    });
  });
});
