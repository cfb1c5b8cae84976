import assert from "node:assert/strict";
import { test } from "node:test";
import { Fleet, until } from "../support/fleet.js";
import { withoutRedis } from "../support/redis.js";

const options = { skip: withoutRedis };

const taken =
  /Another API has this Redis.*Start this one with the data folder of that API, or with a Redis or database of its own/;

test(
  "a second API on the Redis of another refuses to start, also while that one is down, and says what to do",
  options,
  async (t) => {
    const fleet = await Fleet.start(t);
    const { id } = await fleet.api.submit();
    await assert.rejects(fleet.anotherApi(), { message: taken });
    await fleet.restartApi();
    assert.equal((await fleet.job(id)).state, "queued");
    await fleet.api.stop("SIGKILL");
    await assert.rejects(fleet.anotherApi(), { message: taken });
    // The documented way to hand it over.
    await fleet.redis.client(t).del("{mflux-depth}:owner");
    const next = await fleet.anotherApi();
    assert.equal((await next.fetch("/readyz")).status, 200);
  },
);

test("a second API has a database of its own in the same Redis", options, async (t) => {
  const fleet = await Fleet.start(t);
  const second = await fleet.anotherApi({ redis: `${fleet.redis.url}/1` });
  const { id } = await second.submit();
  const client = fleet.redis.client(t);
  await client.select(1);
  await until(async () => (await client.hexists("{mflux-depth}:jobs", id)) === 1 || undefined);
});

test(
  "an API that finds its Redis to be another's once that is back says so, and starts nothing",
  options,
  async (t) => {
    const fleet = await Fleet.start(t);
    fleet.redis.cut("closed");
    const second = await fleet.anotherApi();
    const { id } = await second.submit();
    fleet.redis.restore();
    const redis = await until(async () => {
      const { checks } = (await (await second.fetch("/readyz")).json()) as { checks: { redis: string } };
      return checks.redis.startsWith("Another API") ? checks.redis : undefined;
    });
    assert.match(redis, /docs\/fleet\.md/);
    assert.equal((await second.fetch("/readyz")).status, 503);
    const jobs = await fleet.redis.client(t).hexists("{mflux-depth}:jobs", id);
    assert.equal(jobs, 0);
  },
);

test("two APIs on one data folder: the second refuses to start", options, async (t) => {
  const fleet = await Fleet.start(t);
  const { data } = fleet.api;
  await assert.rejects(fleet.anotherApi({ data }), { message: /Another server uses this data folder/ });
});
