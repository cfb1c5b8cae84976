import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import type { JobObject } from "../../src/contract/index.js";
import { processHeader, protocolHeader, protocolVersion } from "../../src/fleet/protocol.js";
import { Fleet, type TestWorker, until } from "../support/fleet.js";
import { withoutRedis } from "../support/redis.js";
import { Scope } from "../support/scope.js";
import { jobBody } from "../support/server.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

const lease = { leaseMs: 4000, env: slowSteps };

// They wait for most of their time, so several suites run at once. The tests of each share a fleet, one after another.
describe("workers on other machines", { skip: withoutRedis, concurrency: 2 }, () => {
  describe("one", { concurrency: 1 }, () => {
    const scope = new Scope("a-worker");
    let fleet: Fleet;
    let worker: TestWorker;

    before(async () => {
      fleet = await Fleet.start(scope, { ...lease, apiFlags: ["--allow-model", "elsewhere=/nowhere"] });
      worker = await fleet.worker("a");
    });
    beforeEach(() => fleet.state(worker.id, "idle"));
    after(() => scope.end());

    test("cancelling reaches a worker on another machine", async () => {
      const { id } = await fleet.api.submit(longJob);
      await fleet.reached(id, 2);
      await fleet.api.send("POST", `/v1/jobs/${id}/cancel`, {});
      const job = await fleet.ended(id);
      assert.equal(job.state, "cancelled");
      assert.ok(job.step < longJob.request.steps, `it ran to step ${job.step}`);
      await fleet.state(worker.id, "idle");
    });

    test("a draining worker finishes its job and takes no more until it is told to", async () => {
      const running = (await fleet.api.submit(longJob)).id;
      const waiting = (await fleet.api.submit()).id;
      await fleet.reached(running, 2);
      assert.equal((await fleet.api.send("POST", `/v1/workers/${worker.id}/drain`, {})).status, 200);
      assert.equal((await fleet.ended(running)).state, "succeeded");
      const { state, job } = await until(async () => {
        const one = (await fleet.workers()).find(({ id }) => id === worker.id);
        return one?.job === null ? one : undefined;
      });
      assert.deepEqual([state, job], ["draining", null]);
      assert.equal((await fleet.job(waiting)).state, "queued");
      await fleet.api.send("POST", `/v1/workers/${worker.id}/resume`, {});
      assert.equal((await fleet.ended(waiting)).state, "succeeded");
    });

    test("a worker opens no port but its probe, on loopback", async () => {
      const { process, id } = worker;
      assert.equal(process.output, `${id}\n`);
      assert.match(id, /^a-[0-9a-f]{8}$/);
      const [probe] = /http:\/\/127\.0\.0\.1:\d+/.exec(process.log)!;
      assert.equal(await (await fetch(`${probe}/livez`)).text(), "ok\n");
      assert.equal((await fetch(`${probe}/v1/jobs`)).status, 404);
    });

    test("cancelling reaches a worker that Redis cannot reach", async () => {
      const { id } = await fleet.api.submit(longJob);
      await fleet.reached(id, 2);
      worker.toRedis.cut("closed");
      await fleet.api.send("POST", `/v1/jobs/${id}/cancel`, {});
      const job = await fleet.ended(id);
      assert.equal(job.state, "cancelled");
      assert.ok(job.step < longJob.request.steps, `it ran to step ${job.step}`);
      worker.toRedis.restore();
    });

    test("a job for a model that no worker can run says why, once", async () => {
      const second = await fleet.worker("c");
      const { id } = await fleet.api.submit({ load: { model: "elsewhere" } });
      const { warnings } = await until(async () => {
        const job = await fleet.job(id);
        return job.warnings.length > 0 ? job : undefined;
      });
      assert.equal(warnings.length, 1);
      assert.match(warnings[0]!, /^No worker can run this job\. .*"elsewhere"/);
      // Others go on: they wait in a queue of their own.
      assert.equal((await fleet.ended((await fleet.api.submit()).id)).state, "succeeded");
      const job = await fleet.job(id);
      assert.deepEqual([job.state, job.warnings], ["queued", warnings]);
      await second.process.stop();
    });

    test("a revoked token ends a worker's job there, and another worker does it", async () => {
      const { id } = await fleet.api.submit(longJob);
      await fleet.reached(id, 2);
      fleet.revoke("a");
      const second = await fleet.worker("b");
      const job = await fleet.ended(id);
      assert.deepEqual([job.state, job.worker], ["succeeded", second.id]);
      await fleet.state(worker.id, "lost");
      fleet.allow("a");
      await fleet.state(worker.id, "idle");
      await second.process.stop();
    });
  });

  describe("one next to an API that works", { concurrency: 1 }, () => {
    const scope = new Scope("next-to-a-working-api");
    let fleet: Fleet;
    let worker: TestWorker;

    before(async () => {
      // Nothing here may happen because a lease has ended.
      fleet = await Fleet.start(scope, { leaseMs: 60_000, env: slowSteps, apiWorks: true });
      worker = await fleet.worker("a");
    });
    after(() => scope.end());

    test("shares the API's jobs", async () => {
      const both = [worker.id, "local"].sort();
      assert.deepEqual((await fleet.workers()).map(({ id }) => id).sort(), both);
      const ids: string[] = [];
      for (let number = 0; number < 8; number++)
        ids.push((await fleet.api.submit({ request: { steps: 3 } })).id);
      const jobs = await Promise.all(ids.map((id) => fleet.ended(id)));
      assert.ok(jobs.every(({ state }) => state === "succeeded"));
      assert.deepEqual([...new Set(jobs.map((job) => job.worker!))].sort(), both);
    });

    test("leaves its job at its last checkpoint when it stops, and another goes on at once", async () => {
      await fleet.api.send("POST", "/v1/workers/local/drain", {});
      await fleet.state("local", "draining");
      const { id } = await fleet.api.submit(longJob);
      await fleet.checkpointed(id);
      const stopped = worker.process.stop();
      await fleet.api.send("POST", "/v1/workers/local/resume", {});
      assert.deepEqual(await stopped, [0, null]);
      const job = await fleet.ended(id);
      assert.deepEqual([job.state, job.worker], ["succeeded", "local"]);
      assert.ok((await fleet.events(id)).some(({ event }) => event === "resumed"));
    });
  });

  describe("what they call", { concurrency: 1 }, () => {
    const scope = new Scope("what-workers-call");
    const clientToken = "the-token-of-clients";
    const asClient = { authorization: `Bearer ${clientToken}` };
    let fleet: Fleet;

    before(async () => {
      fleet = await Fleet.start(scope, { ...lease, clientToken });
    });
    after(() => scope.end());

    const attempt = "/internal/jobs/none/attempts/1";
    const speaks = { [protocolHeader]: "1", [processHeader]: "0123abcd" };
    const status = async (
      path: string,
      token: string,
      headers: Record<string, string> = {},
    ): Promise<number> => {
      const authorization = `Bearer ${token}`;
      return (await fetch(`${fleet.api.url}${path}`, { headers: { authorization, ...headers } })).status;
    };

    test("asks for a worker's token, until that is revoked", async () => {
      fleet.allow("a");
      assert.equal(await status(attempt, clientToken, speaks), 401);
      assert.equal(await status(attempt, Fleet.tokenOf("a"), speaks), 200);
      fleet.revoke("a");
      assert.equal(await status(attempt, Fleet.tokenOf("a"), speaks), 401);
    });

    test("is all that a worker's token is good for", async () => {
      fleet.allow("a");
      assert.equal(await status("/v1/queue", Fleet.tokenOf("a")), 401);
    });

    test("refuses another version of the protocol", async () => {
      fleet.allow("a");
      assert.equal(await status(attempt, Fleet.tokenOf("a"), { ...speaks, [protocolHeader]: "2" }), 426);
    });

    test("is not part of the public interface", async () => {
      const description = await fleet.api.fetch("/openapi.json", { headers: asClient });
      assert.equal(description.status, 200);
      assert.equal((await description.text()).includes("/internal"), false);
    });

    /** Submits a job, which the worker a begins. @returns its id, its picture's path, and how a worker calls about it. */
    async function begun() {
      fleet.allow("a", "b");
      const submitted = await fleet.api.send("POST", "/v1/jobs", jobBody(), asClient);
      const { id, request } = (await submitted.json()) as JobObject;
      const { blob } = request.depth_image as { blob: string };
      const call = (name: string, method: string, path: string, body?: object): Promise<Response> =>
        fleet.api.fetch(`/internal/jobs/${id}/attempts/${path}`, {
          method,
          headers: {
            authorization: `Bearer ${Fleet.tokenOf(name)}`,
            [protocolHeader]: `${protocolVersion}`,
            [processHeader]: "0123abcd",
            ...(body && { "content-type": "application/json" }),
          },
          ...(body && { body: JSON.stringify(body) }),
        });
      assert.equal((await call("a", "POST", "1", {})).status, 200);
      return { id, picture: `1/pictures/${blob.slice("sha256-".length)}`, call };
    }

    test("gives a picture to the worker that runs its job only", async () => {
      const { picture, call } = await begun();
      assert.equal((await call("a", "GET", picture)).status, 200);
      assert.equal((await call("b", "GET", picture)).status, 403);
    });

    test("lets only the worker that runs a job end it", async () => {
      const { call } = await begun();
      assert.equal((await call("b", "POST", "1/end", { outcome: { state: "cancelled" } })).status, 403);
    });

    test("drops what an old attempt sends", async () => {
      const { id, picture, call } = await begun();
      const left = await call("a", "POST", "1/end", { outcome: { state: "interrupted" } });
      assert.deepEqual(await left.json(), { end: "unfinished", missing: [] });
      assert.equal((await call("b", "POST", "2", {})).status, 200);
      const late = await call("a", "POST", "1/end", { outcome: { state: "cancelled" } });
      assert.deepEqual(await late.json(), { end: "lost", missing: [] });
      assert.equal((await call("a", "GET", picture)).status, 403);
      const now = await fleet.api.fetch(`/v1/jobs/${id}`, { headers: asClient });
      const { state, worker } = (await now.json()) as JobObject;
      assert.deepEqual([state, worker], ["running", "b-0123abcd"]);
    });
  });
});
