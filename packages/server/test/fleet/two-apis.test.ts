import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Fleet, until } from "../support/fleet.js";
import { withoutRedis } from "../support/redis.js";
import { Scope } from "../support/scope.js";

const taken =
  /This Redis belongs to another API.*Start this API with that data folder, or give it a Redis or database of its own/;

describe("a second API", { skip: withoutRedis }, () => {
  const scope = new Scope("two-apis");
  let fleet: Fleet;

  before(async () => {
    fleet = await Fleet.start(scope);
  });
  after(() => scope.end());

  test("has a database of its own in the same Redis", async (t) => {
    const second = await fleet.anotherApi({ redis: `${fleet.redis.url}/1` });
    const { id } = await second.submit();
    const client = fleet.redis.client(t);
    await client.select(1);
    await until(async () => (await client.hexists("{mflux-depth}:jobs", id)) === 1 || undefined);
    await second.stop();
  });

  test("that finds out that its Redis belongs to another says so, and starts nothing", async (t) => {
    fleet.redis.cut("closed");
    const second = await fleet.anotherApi();
    const { id } = await second.submit();
    fleet.redis.restore();
    const redis = await until(async () => {
      const { checks } = (await (await second.fetch("/readyz")).json()) as { checks: { redis: string } };
      return checks.redis.startsWith("This Redis belongs to another API") ? checks.redis : undefined;
    });
    assert.match(redis, /docs\/fleet\.md/);
    assert.equal((await second.fetch("/readyz")).status, 503);
    const jobs = await fleet.redis.client(t).hexists("{mflux-depth}:jobs", id);
    assert.equal(jobs, 0);
    await second.stop();
  });

  test("refuses to start on the data folder of another", async () => {
    const { data } = fleet.api;
    await assert.rejects(fleet.anotherApi({ data }), { message: /Another server uses this data folder/ });
  });

  // The last: it ends the first API.
  test("refuses to start on the Redis of another, even while that one is down, and says what to do", async (t) => {
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
  });
});
