import { test } from "node:test";
import { dispatcherContract } from "../../support/dispatcher-contract.js";
import { RedisServer, withoutRedis } from "../../support/redis.js";
import { TestFleet } from "../../support/test-fleet.js";

if (withoutRedis) test("RedisDispatcher as a dispatcher", { skip: withoutRedis });
else
  for (const [name, together] of [
    ["RedisDispatcher in one process", true],
    ["RedisDispatcher of the API with those of workers", false],
  ] as const)
    dispatcherContract(name, async (t, { leaseMs }) => {
      const { url } = await RedisServer.start(t);
      const fleet = new TestFleet({ url, leaseMs, together });
      t.after(() => fleet.close());
      return fleet;
    });
