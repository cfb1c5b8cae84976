import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Metrics } from "../../src/http/metrics.js";

const textOf = (metrics: Metrics): Promise<string> => metrics.registry.metrics();

describe("the metrics of a fleet", () => {
  test("count workers by state, those without any as 0", async () => {
    const metrics = new Metrics();
    metrics.setWorkers([{ state: "busy" }, { state: "lost" }, { state: "busy" }]);
    const text = await textOf(metrics);
    for (const line of ['{state="idle"} 0', '{state="busy"} 2', '{state="draining"} 0', '{state="lost"} 1'])
      assert.ok(text.includes(`mflux_depth_workers${line}\n`), line);
  });

  test("count claims and takeovers", async () => {
    const metrics = new Metrics();
    for (const name of ["claim", "claim", "takeover"] as const) metrics.observe({ name });
    const text = await textOf(metrics);
    assert.match(text, /^mflux_depth_claims_total 2$/m);
    assert.match(text, /^mflux_depth_takeovers_total 1$/m);
  });

  test("say whether Redis is there, and nothing of it where there is none", async () => {
    const metrics = new Metrics();
    assert.doesNotMatch(await textOf(metrics), /redis/);
    metrics.setRedis({ up: true, waiting: 3 });
    assert.match(await textOf(metrics), /^mflux_depth_redis_up 1$[\s\S]*^mflux_depth_redis_waiting_jobs 3$/m);
    metrics.setRedis({ up: false, waiting: null });
    assert.match(
      await textOf(metrics),
      /^mflux_depth_redis_up 0$[\s\S]*^mflux_depth_redis_waiting_jobs Nan$/m,
    );
  });
});
