import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import type { JobObject } from "../../src/contract/index.js";
import { Fleet, type TestWorker, until } from "../support/fleet.js";
import { withoutRedis } from "../support/redis.js";
import { Scope } from "../support/scope.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

const lease = { leaseMs: 4000, env: slowSteps };
const cuts = ["closed", "silent"] as const;

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

/** A fleet with one worker, which the tests of a suite share: each leaves it whole. */
class SharedFleet {
  readonly #scope: Scope;
  fleet!: Fleet;
  worker!: TestWorker;

  constructor(name: string) {
    this.#scope = new Scope(name);
    before(async () => {
      this.fleet = await Fleet.start(this.#scope, lease);
      this.worker = await this.fleet.worker("a");
    });
    beforeEach(async () => {
      await isReady(this.fleet);
      await this.fleet.state(this.worker.id, "idle");
    });
    after(() => this.#scope.end());
  }

  /** Gives the worker a long job, which has begun when the promise resolves, and another job that waits. */
  async busy(): Promise<{ running: string; waiting: string }> {
    const running = (await this.fleet.api.submit(longJob)).id;
    const waiting = (await this.fleet.api.submit()).id;
    await this.fleet.reached(running, 2);
    return { running, waiting };
  }
}

// They wait for most of their time, so two suites run at once. The tests of each share a fleet, one after another.
describe("a fleet", { skip: withoutRedis, concurrency: 2 }, () => {
  describe("whose Redis or API fails", { concurrency: 1 }, () => {
    const shared = new SharedFleet("failing-parts");

    for (const how of cuts)
      test(`no job is lost while the API's line to Redis is ${how}`, async () => {
        const { fleet } = shared;
        const { running, waiting } = await shared.busy();
        fleet.redis.cut(how);
        await requireMissingRedis(fleet);
        const late = (await fleet.api.submit()).id;
        fleet.redis.restore();
        await isReady(fleet);
        assert.equal((await requireOneResult(fleet, running)).attempt, 1);
        await requireOneResult(fleet, waiting);
        await requireOneResult(fleet, late);
      });

    test("no job is lost when Redis dies and comes back empty, and jobs are accepted meanwhile", async () => {
      const { fleet } = shared;
      const { running, waiting } = await shared.busy();
      await fleet.redis.kill();
      await requireMissingRedis(fleet);
      const late = (await fleet.api.submit()).id;
      assert.equal((await requireOneResult(fleet, running)).attempt, 1, "its worker went on without Redis");
      await fleet.redis.restart();
      await isReady(fleet);
      await requireOneResult(fleet, waiting);
      await requireOneResult(fleet, late);
    });

    test("no job is lost when the API is killed, and its worker delivers to the next one", async () => {
      const { fleet, worker } = shared;
      const { running, waiting } = await shared.busy();
      await fleet.restartApi();
      const job = await requireOneResult(fleet, running);
      assert.deepEqual([job.attempt, job.worker], [1, worker.id]);
      await requireOneResult(fleet, waiting);
    });

    test("a worker that was cut off finds its job gone to another, and what it says is dropped", async () => {
      const { fleet, worker: first } = shared;
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
      await second.process.stop();
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
  });

  describe("whose worker is cut off", { concurrency: 1 }, () => {
    const shared = new SharedFleet("cut-off");

    for (const how of cuts) {
      test(`a worker whose line to the API is ${how} goes on and delivers later`, async () => {
        const { fleet, worker } = shared;
        const { running, waiting } = await shared.busy();
        worker.toApi.cut(how);
        await fleet.state(worker.id, "lost");
        assert.equal((await fleet.job(running)).state, "running", "it holds its lease at Redis");
        worker.toApi.restore();
        assert.equal((await requireOneResult(fleet, running)).attempt, 1);
        await requireOneResult(fleet, waiting);
      });

      test(`a worker whose line to Redis is ${how} keeps its job, and takes others once it is back`, async () => {
        const { fleet, worker } = shared;
        const { running, waiting } = await shared.busy();
        worker.toRedis.cut(how);
        assert.equal((await requireOneResult(fleet, running)).attempt, 1);
        assert.equal((await fleet.job(waiting)).state, "queued");
        worker.toRedis.restore();
        await requireOneResult(fleet, waiting);
      });
    }
  });
});
