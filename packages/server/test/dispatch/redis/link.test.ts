import { describe, test } from "node:test";
import { RedisLink } from "../../../src/dispatch/redis/link.js";
import { RedisServer, withoutRedis } from "../../support/redis.js";
import { until } from "../../support/until.js";

describe("a connection to Redis", { skip: withoutRedis }, () => {
  test("survives that it breaks while it subscribes again", async (t) => {
    const redis = await RedisServer.start(t);
    const { url, proxy } = await redis.anotherNetwork(t);
    const heard: string[] = [];
    const link = new RedisLink({
      url,
      channel: "news",
      onMessage: (text) => heard.push(text),
      onReady: () => {},
      onProblem: () => {},
      retryMs: 20,
    });
    t.after(() => link.close());
    const client = redis.client(t);
    const isSubscribed = async (): Promise<boolean> =>
      ((await client.pubsub("NUMSUB", "news"))[1] as number) === 1;
    await until(isSubscribed);
    for (let times = 0; times < 3; times++) {
      const broken = proxy.breakAt("subscribe");
      proxy.cut("closed");
      proxy.restore();
      await broken;
    }
    await until(isSubscribed);
    await client.publish("news", "back");
    await until(() => heard.includes("back"));
  });
});
