import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Claim, Offer } from "../../../src/dispatch/dispatcher.js";
import { byTurn } from "../../../src/dispatch/order.js";
import { RedisServer, withoutRedis } from "../../support/redis.js";
import { TestFleet } from "../../support/test-fleet.js";
import { until } from "../../support/until.js";

const offer = (arrival: number, facts: Partial<Offer> = {}): Offer => ({
  id: `job${arrival}`,
  priority: 0,
  arrival,
  model: "a",
  attempt: 0,
  ...facts,
});

async function start(t: TestContext): Promise<TestFleet> {
  const { url } = await RedisServer.start(t);
  const fleet = new TestFleet({ url });
  t.after(() => fleet.close());
  return fleet;
}

/** On which instances hear each other. */
const channel = "{mflux-depth}:messages";

const claim = (fleet: TestFleet, worker = "w1"): Promise<Claim> =>
  fleet.claim({ worker, model: null, signal: AbortSignal.timeout(60_000) });

/** Jobs of several models and priorities, in an order that is neither. */
const mixed = (count: number): readonly Offer[] =>
  Array.from({ length: count }, (_, at) => {
    const arrival = ((at * 7919) % count) + 1;
    return offer(arrival, { model: `model ${arrival % 5}`, priority: (arrival % 3) - 1 });
  });

describe("jobs on Redis", { skip: withoutRedis }, () => {
  test("are given once, however often they are offered, and by whom", async (t) => {
    const fleet = await start(t);
    const job = fleet.ledger.add(offer(1));
    await Promise.all([fleet.api.offer(job), fleet.of("w1").offer(job), fleet.api.offer(job)]);
    const held = await claim(fleet);
    await fleet.api.offer(job);
    assert.equal(await fleet.api.waiting(), 0);
    assert.equal(await fleet.finish(held), true);
  });

  test("keep their attempt number if the wait ends while taking one, because no attempt has begun", async (t) => {
    const fleet = await start(t);
    await fleet.offer(offer(1));
    const end = new AbortController();
    const accepts = (): boolean => {
      end.abort(new Error("enough"));
      return true;
    };
    const waiting = fleet.claim({ worker: "w1", model: null, accepts, signal: end.signal });
    await assert.rejects(waiting, { message: "enough" });
    const held = await claim(fleet, "w2");
    assert.deepEqual([held.id, held.attempt], ["job1", 1]);
    assert.equal(await fleet.finish(held), true);
  });

  test("keep a later attempt when an earlier one is offered again", async (t) => {
    const fleet = await start(t);
    await fleet.offer(offer(1, { attempt: 2 }));
    await fleet.api.offer(offer(1, { attempt: 0, priority: 1 }));
    assert.equal(await fleet.api.waiting(), 1);
    assert.equal((await claim(fleet)).attempt, 3);
  });

  test("are taken from a worker when a later attempt is offered", async (t) => {
    const fleet = await start(t);
    await fleet.offer(offer(1));
    const first = await claim(fleet);
    fleet.ledger.interrupt(first);
    await fleet.api.offer(offer(1, { attempt: 1 }));
    assert.equal(await fleet.renew(first), false);
    const second = await claim(fleet, "w2");
    assert.deepEqual([second.id, second.attempt], ["job1", 2]);
    assert.equal(await fleet.renew(second), true);
  });

  test("keep their changed priority when they are given back", async (t) => {
    const fleet = await start(t);
    await fleet.offer(offer(1, { model: "b" }));
    await fleet.offer(offer(2));
    await fleet.offer(offer(2, { priority: 1 }));
    const held = await claim(fleet);
    assert.equal(held.id, "job2");
    await fleet.giveBack(held);
    assert.equal((await claim(fleet)).id, "job2");
  });

  test("start in exact order across the queues of models, whoever claims", async (t) => {
    const fleet = await start(t);
    const jobs = mixed(200);
    await Promise.all(jobs.map((job) => fleet.offer(job)));
    const order = [];
    for (let n = 0; n < jobs.length; n++) order.push((await claim(fleet, `w${n % 3}`)).id);
    assert.deepEqual(
      order,
      [...jobs].sort(byTurn).map(({ id }) => id),
    );
  });

  test("go each to one of eight workers that claim at the same time, and none is lost", async (t) => {
    const fleet = await start(t);
    const jobs = mixed(500);
    const given: string[] = [];
    const end = new AbortController();
    const work = async (worker: string): Promise<void> => {
      for (let model: string | null = null; ; ) {
        const held = await fleet.claim({ worker, model, signal: end.signal });
        model = fleet.ledger.find(held.id)!.model;
        given.push(held.id);
        assert.equal(await fleet.renew(held), true);
        assert.equal(await fleet.finish(held), true);
        if (given.length >= jobs.length) end.abort(new Error("all are given"));
      }
    };
    const workers = Array.from({ length: 8 }, (_, n) => work(`w${n}`));
    await Promise.all(jobs.map((job) => fleet.offer(job)));
    const ends = await Promise.allSettled(workers);
    assert.deepEqual(given.toSorted(), jobs.map(({ id }) => id).toSorted());
    for (const one of ends) assert.match(String((one as PromiseRejectedResult).reason), /all are given/);
    assert.equal(await fleet.api.waiting(), 0);
  });

  test("are given despite unintelligible messages on the channel", async (t) => {
    const server = await RedisServer.start(t);
    const fleet = new TestFleet({ url: server.url });
    t.after(() => fleet.close());
    const waiting = claim(fleet);
    const redis = server.client(t);
    await until(async () => ((await redis.pubsub("NUMSUB", channel))[1] as number) === 2);
    for (const text of ["", "{", "null", '{"type":"dance"}']) await redis.publish(channel, text);
    await fleet.offer(offer(1));
    assert.equal((await waiting).id, "job1");
  });

  test("leave nothing behind", async (t) => {
    const server = await RedisServer.start(t);
    const fleet = new TestFleet({ url: server.url });
    t.after(() => fleet.close());
    for (const job of mixed(20)) await fleet.offer(job);
    for (let n = 0; n < 20; n++) await fleet.finish(await claim(fleet));
    await fleet.api.reconcile();
    assert.deepEqual((await server.client(t).keys("*")).sort(), [
      "{mflux-depth}:agreed",
      "{mflux-depth}:owner",
    ]);
  });
});
