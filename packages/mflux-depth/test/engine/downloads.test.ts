import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { Engine, modelNamesOf } from "../../src/engine/index.js";
import { obtainModels } from "../../src/engine/models.js";
import type { LoadOptions } from "../../src/options/index.js";
import { adapterFile } from "../support/adapters.js";
import { job } from "../support/engine.js";
import { HubFixture, json, modelError, needed, transformer, weights } from "../support/hub-fixture.js";
import { oneFile } from "../support/one-file.js";
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
  assert.equal((await engine.generate(job({ steps: 1 }))).width, 64);
  await engine.close();
  await downloading;
});

describe("the files of a job that come from the Hub", () => {
  const obtain = (load: LoadOptions) =>
    obtainModels(
      { load, request: { prompt: "any" } },
      { env: { ...process.env, ...fixture.environment, HF_HUB_OFFLINE: "0" } },
    );
  const [style, other, third] = ["diffusers", "second", "kohya"].map((name) =>
    readFileSync(adapterFile(name)),
  ) as [Buffer, Buffer, Buffer];

  test("are its LoRAs, a network in one file, other text encoders and the rest of the model", async () => {
    fixture.hub.host("me/styles", { "a.safetensors": style, "b.safetensors": other });
    fixture.hub.host("me/style", { "style.safetensors": third });
    fixture.hub.host("me/one", { "flux.gguf": readFileSync(oneFile("q8_0.gguf")), "other.gguf": "" });
    fixture.hub.host("me/t5", { "t5.gguf": "t5" });
    fixture.hub.host("me/parts", needed);
    const load = {
      model: "me/one:flux.gguf",
      componentsFrom: "me/parts",
      textEncoder2: "me/t5:t5.gguf",
      loras: ["me/styles:a.safetensors", "me/styles:b.safetensors", "me/style", adapterFile("second")],
    };
    await obtain(load);
    const resolved = fixture.hub.resolved();
    for (const file of ["a.safetensors", "b.safetensors", "style.safetensors", "flux.gguf", "t5.gguf"])
      assert.ok(resolved.includes(file), file);
    assert.ok(resolved.includes("vae/diffusion_pytorch_model.safetensors"));
    assert.ok(!resolved.includes(transformer) && !resolved.includes("other.gguf"));
    const names = modelNamesOf({ load, request: { prompt: "any" } });
    assert.deepEqual([...new Set(names)], ["me/styles", "me/style", "me/one", "me/parts", "me/t5"]);
    fixture.hub.forget();
    await obtain(load);
    assert.deepEqual(fixture.hub.asked, []);
  });

  test("include FLUX.1-dev only with the depth LoRA", async () => {
    const config = json({ _class_name: "FluxTransformer2DModel", in_channels: 64 });
    fixture.hub.host("me/dev", {
      ...needed,
      "model_index.json": json({ _class_name: "FluxPipeline" }),
      "transformer/config.json": config,
      [transformer]: weights(1000, 3),
    });
    fixture.hub.host("me/style", { "style.safetensors": style });
    fixture.hub.host("me/depth", { "depth.safetensors": readFileSync(adapterFile("control-lora")) });
    await assert.rejects(
      obtain({ model: "me/dev", loras: ["me/style"] }),
      modelError(/which takes no depth map/),
    );
    assert.ok(!fixture.hub.resolved().includes(transformer));
    await obtain({ model: "me/dev", loras: ["me/style", "me/depth"] });
    assert.ok(fixture.hub.resolved().includes(transformer));
  });
});

test("an engine downloads the LoRAs of a job before its turn", async () => {
  fixture.hub.host("me/style", { "style.safetensors": readFileSync(adapterFile("diffusers")) });
  const engine = new Engine({ env: { ...process.env, ...fixture.environment, HF_HUB_OFFLINE: "0" } });
  const { load, request } = job({ steps: 1 });
  fixture.hub.fault = () => true;
  const waiting = assert.rejects(
    engine.generate({ load: { ...load, loras: ["me/style"] }, request }),
    /closed/,
  );
  await until(() => fixture.hub.asked.length > 0);
  // Meanwhile, the engine's process is free for other jobs.
  assert.equal((await engine.generate({ load, request })).width, 64);
  await engine.close();
  await waiting;
});
