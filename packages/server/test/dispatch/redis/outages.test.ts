import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, type TestContext, test } from "node:test";
import type { Claim } from "../../../src/dispatch/dispatcher.js";
import { RedisDispatcher } from "../../../src/dispatch/redis/dispatcher.js";
import { offer } from "../../support/dispatcher-contract.js";
import { RedisServer, type RedisServerOptions, withoutRedis } from "../../support/redis.js";
import { TestFleet, type TestFleetOptions } from "../../support/test-fleet.js";
import { until } from "../../support/until.js";

const leaseMs = 1000;

async function start(
  t: TestContext,
  options: RedisServerOptions = {},
  fleetOptions: Partial<TestFleetOptions> = {},
): Promise<{ readonly redis: RedisServer; readonly fleet: TestFleet }> {
  const redis = await RedisServer.start(t, options);
  const fleet = new TestFleet({ url: redis.url, leaseMs, ...fleetOptions });
  t.after(() => fleet.close());
  return { redis, fleet };
}

const claim = (fleet: TestFleet, worker = "w1"): Promise<Claim> =>
  fleet.claim({ worker, model: null, signal: AbortSignal.timeout(30_000) });

/** Whether no worker gets a job within a time. */
async function nothingWaits(fleet: TestFleet, ms = 300): Promise<boolean> {
  const request = { worker: "w9", model: null, signal: AbortSignal.timeout(ms) };
  return fleet.claim(request).then(
    () => false,
    () => true,
  );
}

/** Renews a lease as workers do, and keeps the API's ear. */
function keepAlive(t: TestContext, fleet: TestFleet, held: Claim): void {
  fleet.ledger.audible.add(held.worker);
  const renewal = setInterval(() => void fleet.renew(held), leaseMs / 4);
  t.after(() => clearInterval(renewal));
}

// Most of them wait, each with a Redis of its own.
describe("a dispatcher whose Redis fails", { skip: withoutRedis, concurrency: 3 }, () => {
  test("gives jobs that were offered while Redis was away, once it is there", async (t) => {
    const { redis, fleet } = await start(t);
    await redis.kill();
    await until(() => !fleet.api.up);
    await fleet.offer(offer("job1"));
    const waiting = claim(fleet);
    await redis.restart();
    assert.equal((await waiting).id, "job1");
  });

  test("gives a job that waited in a Redis that came back empty, in the same order", async (t) => {
    const { redis, fleet } = await start(t);
    await fleet.offer(offer("job2"));
    await fleet.offer(offer("job1"));
    await fleet.offer(offer("job3", { priority: 1, model: "b" }));
    await redis.kill();
    await redis.restart();
    await until(async () => (await fleet.api.waiting()) === 3);
    const order = [];
    for (let n = 0; n < 3; n++) order.push((await claim(fleet)).id);
    assert.deepEqual(order, ["job3", "job1", "job2"]);
  });

  test("offers everything again after FLUSHALL, without a new connection", async (t) => {
    const { redis, fleet } = await start(t);
    await fleet.offer(offer("job1"));
    await redis.client(t).flushall();
    assert.equal((await claim(fleet)).id, "job1");
    assert.equal(await nothingWaits(fleet), true);
  });

  test("leaves a running job with a worker that the API hears, after FLUSHALL", async (t) => {
    const { redis, fleet } = await start(t);
    await fleet.offer(offer("job1"));
    const held = await claim(fleet);
    keepAlive(t, fleet, held);
    await redis.client(t).flushall();
    assert.equal(await nothingWaits(fleet, 3 * leaseMs), true);
    assert.equal(held.signal.aborted, false);
    assert.equal(await fleet.renew(held), false);
    assert.equal(fleet.ledger.end(held), true);
  });

  test("gives a running job to another after FLUSHALL, if the API does not hear its worker either", async (t) => {
    const { redis, fleet } = await start(t);
    await fleet.offer(offer("job1"));
    const held = await claim(fleet);
    await redis.client(t).flushall();
    const next = await claim(fleet, "w2");
    assert.deepEqual([next.id, next.attempt], ["job1", 2]);
    if (!held.signal.aborted) await once(held.signal, "abort");
    assert.equal(held.signal.reason, "lost");
  });

  test("leaves a job whose lease expired with a worker that the API hears", async (t) => {
    const { fleet } = await start(t);
    await fleet.offer(offer("job1"));
    const held = await claim(fleet);
    fleet.ledger.audible.add("w1");
    assert.equal(await nothingWaits(fleet, 3 * leaseMs), true);
    assert.equal(held.signal.aborted, false);
  });

  test("renews a lease that expired unnoticed", async (t) => {
    const { fleet } = await start(t);
    await fleet.offer(offer("job1"));
    const held = await claim(fleet);
    fleet.ledger.audible.add("w1");
    assert.equal(await nothingWaits(fleet, 1.5 * leaseMs), true);
    assert.equal(await fleet.renew(held), true);
    assert.equal(await fleet.finish(held), true);
  });

  test("declares nothing lost while Redis is away, nor before workers could renew", async (t) => {
    const { redis, fleet } = await start(t, { durable: true }, { leaseMs: 3 * leaseMs });
    const lost: string[] = [];
    fleet.onLost(({ id }) => lost.push(id));
    await fleet.offer(offer("job1"));
    const held = await claim(fleet);
    await redis.kill();
    assert.equal(await nothingWaits(fleet, 4 * leaseMs), true);
    assert.equal(await fleet.renew(held), false);
    await redis.restart();
    await until(() => fleet.renew(held));
    assert.deepEqual(lost, []);
    assert.equal(await fleet.finish(held), true);
  });

  test("removes what ended while Redis was away", async (t) => {
    const { redis, fleet } = await start(t, { durable: true });
    await fleet.offer(offer("job1"));
    await fleet.offer(offer("job2"));
    const held = await claim(fleet);
    await redis.kill();
    assert.equal(await fleet.finish(held), false);
    assert.equal(await fleet.cancel("job2"), "unknown");
    await redis.restart();
    const keys = redis.client(t);
    await until(async () => (await keys.hlen("{mflux-depth}:jobs")) === 0);
    assert.equal(await nothingWaits(fleet), true);
  });

  test("holds jobs back in a Redis that came back empty, if the queue was paused", async (t) => {
    const { redis, fleet } = await start(t);
    await fleet.pause();
    await fleet.offer(offer("job1"));
    await redis.kill();
    await redis.restart();
    await until(async () => (await fleet.api.waiting()) === 1);
    assert.equal(await nothingWaits(fleet), true);
    await fleet.resume();
    assert.equal((await claim(fleet)).id, "job1");
  });

  test("resumes a queue that was resumed while Redis was away", async (t) => {
    const { redis, fleet } = await start(t, { durable: true });
    await fleet.pause();
    await fleet.offer(offer("job1"));
    await redis.kill();
    await until(() => !fleet.api.up);
    await fleet.resume();
    await redis.restart();
    assert.equal((await claim(fleet)).id, "job1");
  });

  test("says in its health that Redis is away, without the password", async (t) => {
    const problems: unknown[] = [];
    const onProblem = (...problem: unknown[]): number => problems.push(problem);
    const { redis, fleet } = await start(t, { password: "open-sesame" }, { onProblem });
    await until(() => fleet.api.health === "ok");
    await redis.kill();
    await until(() => fleet.api.health !== "ok");
    assert.match(
      fleet.api.health,
      /^Redis cannot be reached \(.*\); jobs are accepted, and start when it is back\.$/,
    );
    const wrong = new RedisDispatcher({ url: redis.url.replace("sesame", "barley"), onProblem });
    t.after(() => wrong.close());
    await redis.restart();
    await until(() => problems.length >= 2);
    await until(() => /WRONGPASS/.test(wrong.health));
    assert.doesNotMatch(JSON.stringify([problems, wrong.health]), /sesame|barley/);
  });

  test("warns of a Redis that may evict jobs", async (t) => {
    const redis = await RedisServer.start(t);
    await redis.client(t).config("SET", "maxmemory-policy", "allkeys-lru");
    const problem = new Promise<string>((resolve) => {
      const fleet = new TestFleet({ url: redis.url, onProblem: resolve });
      t.after(() => fleet.close());
    });
    assert.match(await problem, /maxmemory-policy is allkeys-lru; set it to noeviction/);
  });

  for (const how of ["closed", "silent"] as const)
    test(`gives jobs again to a worker whose network was cut (${how})`, async (t) => {
      const { redis, fleet } = await start(t);
      const { url, proxy } = await redis.anotherNetwork(t);
      const worker = new RedisDispatcher({ url, leaseMs });
      t.after(() => worker.close());
      await until(() => worker.health === "ok");
      const waiting = worker.claim({ worker: "w1", model: null, signal: AbortSignal.timeout(60_000) });
      proxy.cut(how);
      await fleet.offer(offer("job1"));
      await until(() => worker.health !== "ok");
      proxy.restore();
      assert.equal((await waiting).id, "job1");
    });

  test("gives a job to another worker while the network of the first is cut, and tells it so after", async (t) => {
    const { redis, fleet } = await start(t);
    const { url, proxy } = await redis.anotherNetwork(t);
    const worker = new RedisDispatcher({ url, leaseMs });
    t.after(() => worker.close());
    await fleet.offer(offer("job1"));
    const first = await worker.claim({ worker: "w1", model: null, signal: AbortSignal.timeout(30_000) });
    fleet.ledger.begin(first);
    proxy.cut("closed");
    const second = await claim(fleet, "w2");
    assert.deepEqual([second.id, second.attempt], ["job1", 2]);
    proxy.restore();
    await until(() => worker.up);
    assert.equal(await worker.renew(first), false);
    assert.equal(await worker.finish(first), false);
    assert.equal(await fleet.renew(second), true);
  });
});
