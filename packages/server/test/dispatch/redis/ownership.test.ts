import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { RedisDispatcher } from "../../../src/dispatch/redis/dispatcher.js";
import { RedisTaken } from "../../../src/dispatch/redis/ownership.js";
import { offer } from "../../support/dispatcher-contract.js";
import { RedisServer, withoutRedis } from "../../support/redis.js";
import { TestLedger } from "../../support/test-ledger.js";
import { until } from "../../support/until.js";

const owner = "{mflux-depth}:owner";

/** The dispatcher of an API, and its ledger. */
function api(t: TestContext, url: string, ledger = new TestLedger()) {
  const dispatcher = new RedisDispatcher({ url, ledger, leaseMs: 1000 });
  t.after(() => dispatcher.close());
  return { dispatcher, ledger };
}

describe("a Redis", { skip: withoutRedis }, () => {
  test("is for the API that comes first; another one neither offers nor takes jobs, nor removes any", async (t) => {
    const { url } = await RedisServer.start(t);
    const first = api(t, url);
    await first.dispatcher.own();
    await first.dispatcher.offer(first.ledger.add(offer("job1")));
    const second = api(t, url);
    await assert.rejects(second.dispatcher.own(), RedisTaken);
    await second.dispatcher.offer(second.ledger.add(offer("job2")));
    await second.dispatcher.reconcile();
    const request = { worker: "w1", model: null, signal: AbortSignal.timeout(300) };
    await assert.rejects(second.dispatcher.claim(request), { name: "TimeoutError" });
    assert.equal(await first.dispatcher.waiting(), 1);
    assert.match(second.dispatcher.health, /^This Redis belongs to another API/);
    assert.equal(first.dispatcher.health, "ok");
  });

  test("belongs to the same API again however that ended", async (t) => {
    const { url } = await RedisServer.start(t);
    const { ledger } = api(t, url);
    for (let times = 0; times < 2; times++) await api(t, url, ledger).dispatcher.own();
  });

  test("is another API's once the first is gone and its mark is deleted", async (t) => {
    const redis = await RedisServer.start(t);
    const first = api(t, redis.url);
    await first.dispatcher.own();
    await first.dispatcher.offer(first.ledger.add(offer("job1")));
    await first.dispatcher.close();
    const second = api(t, redis.url);
    await assert.rejects(second.dispatcher.own(), RedisTaken);
    await second.dispatcher.offer(second.ledger.add(offer("job2")));
    await redis.client(t).del(owner);
    await second.dispatcher.reconcile();
    const signal = AbortSignal.timeout(30_000);
    const claim = await second.dispatcher.claim({ worker: "w1", model: null, signal });
    assert.equal(claim.id, "job2", "the jobs of the first are removed");
    assert.equal(second.dispatcher.health, "ok");
  });

  test("is not another's because it was away, or came back empty", async (t) => {
    const redis = await RedisServer.start(t);
    const first = api(t, redis.url);
    await first.dispatcher.own();
    await redis.kill();
    await until(() => !first.dispatcher.up);
    await redis.restart();
    await first.dispatcher.offer(first.ledger.add(offer("job1")));
    const keys = redis.client(t);
    await until(async () => (await keys.get(owner)) === first.ledger.id);
  });
});
