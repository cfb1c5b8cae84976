import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { Engine } from "../../src/engine/index.js";
import { job } from "../support/engine.js";
import { HubFixture } from "../support/hub-fixture.js";
import { exampleImage } from "../support/tiny-world.js";
import { until } from "../support/waiting.js";

const fixture = new HubFixture();

describe("jobs that wait for a download", () => {
  /** An engine whose downloads never get an answer. */
  const stuckEngine = (): Engine => {
    fixture.hub.host("me/tiny", { "model_index.json": "{}", "transformer/config.json": "{}" });
    fixture.hub.fault = () => true;
    return new Engine({ env: { ...process.env, ...fixture.environment, HF_HUB_OFFLINE: "0" } });
  };
  const wanted = { ...job(), load: { model: "me/tiny" } };

  test("count as waiting, without a process", async () => {
    const engine = stuckEngine();
    const jobs = [1, 2].map(() => assert.rejects(engine.generate(wanted), /closed/));
    assert.deepEqual([engine.waiting, engine.busy, engine.pid], [2, false, undefined]);
    await engine.close();
    await Promise.all(jobs);
    assert.equal(engine.waiting, 0);
  });

  test("end with their signal, while others continue the download", async () => {
    const engine = stuckEngine();
    const controller = new AbortController();
    const reason = new Error("enough");
    const downloading = assert.rejects(engine.generate(wanted, { signal: controller.signal }), reason);
    const waiting = assert.rejects(engine.generate(wanted), /closed/);
    await until(() => fixture.hub.asked.length > 0);
    const started = performance.now();
    controller.abort(reason);
    await downloading;
    // The process of the download is killed after five seconds.
    assert.ok(performance.now() - started < 4000);
    fixture.hub.asked.length = 0;
    await until(() => fixture.hub.asked.length > 0);
    await engine.close();
    await waiting;
  });
});

test("generations do not wait for an estimate whose estimator is being downloaded", async () => {
  fixture.hub.host("me/depth", { "config.json": '{"model_type":"depth_pro"}' });
  fixture.hub.fault = () => true;
  const engine = new Engine({ env: { ...process.env, ...fixture.environment, HF_HUB_OFFLINE: "0" } });
  const photo = new Uint8Array(await readFile(exampleImage("cube.png")));
  const load = { model: "tiny-world", depthModel: "me/depth" };
  const downloading = assert.rejects(engine.estimateDepth({ load, photo }), /closed/);
  await until(() => fixture.hub.asked.length > 0);
  assert.equal((await engine.generate(job({ steps: 1 }))).width, 128);
  await engine.close();
  await downloading;
});
