import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { JobService } from "../../src/jobs/service.js";
import { photo } from "../support/pictures.js";
import { Scope } from "../support/scope.js";
import { emptyCache, eventOf, generation, openService, submitted } from "../support/service.js";
import { slowSteps } from "../support/slow-steps.js";

const spread = (values: Float32Array): readonly [number, number] => [
  values.reduce((least, value) => Math.min(least, value)),
  values.reduce((most, value) => Math.max(most, value)),
];

const scope = new Scope("a service");
let service: JobService;
before(async () => {
  service = await openService(scope, { env: { ...process.env, ...slowSteps } });
});
after(() => scope.end());

describe("depth at once", () => {
  test("is a map of the photo's size and the estimator's own values", async () => {
    const listed = service.list().data;
    const { map, inverse } = await service.atOnce.depth(photo(), {});
    assert.deepEqual([map.width, map.height, map.data.length], [512, 512, 512 * 512]);
    assert.deepEqual(spread(map.data), [0, 1]);
    assert.equal(inverse.data.length, inverse.width * inverse.height);
    assert.deepEqual(service.list().data, listed);
  });

  test("is adjusted as asked", async () => {
    const plain = await service.atOnce.depth(photo(), {});
    const inverted = await service.atOnce.depth(photo(), { invert: true });
    for (const index of [0, 1000, 200_000])
      assert.ok(Math.abs(plain.map.data[index]! + inverted.map.data[index]! - 1) < 1e-6);
  });

  test("does not wait for a running generation", async () => {
    const id = await submitted(service, { steps: 50, width: 256, height: 256 });
    await eventOf(service, id, ({ event }) => event === "step");
    await service.atOnce.depth(photo(), {});
    assert.equal(service.get(id).state, "running");
    await service.cancel(id);
  });

  test("refuses anything but a picture", async () => {
    await assert.rejects(service.atOnce.depth(Buffer.from("no picture"), {}), { code: "invalid_image" });
  });
});

describe("without the depth estimator on this machine", () => {
  const missing = { depthModel: "nobody/absent" };
  const refusal = (message: RegExp) => ({ code: "model_not_found", param: "load.depth_model", message });

  test("a generation from a photo is refused, with what helps", async (t) => {
    const service = await openService(t, {
      load: { model: "tiny-world", ...missing },
      env: emptyCache(t),
    });
    const { blob } = await service.blobs.put(photo());
    const { request } = await generation(service);
    const { depth_image: map, ...others } = request;
    await assert.rejects(
      service.submit({ kind: "generate", request: { ...others, image: { blob: blob.id } } }),
      refusal(
        /^The depth estimator nobody\/absent is not on .*: send a depth_image, choose another depth_model,/,
      ),
    );
    const both = { ...others, image: { blob: blob.id }, depth_image: map! };
    assert.equal((await service.submit({ kind: "generate", request: both })).created, true);
  });

  test("a job of kind depth and depth at once are refused", async (t) => {
    const service = await openService(t, {
      load: { model: "tiny-world", ...missing },
      env: emptyCache(t),
    });
    const { blob } = await service.blobs.put(photo());
    const expected = refusal(/is not on the server's machine: choose another depth_model, or download/);
    await assert.rejects(service.submit({ kind: "depth", request: { image: { blob: blob.id } } }), expected);
    await assert.rejects(service.atOnce.depth(photo(), {}), expected);
  });
});

test("a depth estimator that cannot be opened is named by its field", async (t) => {
  const service = await openService(t, { load: { model: "tiny-world", depthModel: "absent" } });
  const { blob } = await service.blobs.put(photo());
  await assert.rejects(service.atOnce.depth(photo(), {}), { param: "load.depth_model" });
  for (const kind of ["depth", "generate"] as const) {
    const request = { image: { blob: blob.id }, ...(kind === "generate" && { prompt: "a cube", steps: 1 }) };
    const { error } = await service.finished((await service.submit({ kind, request })).job.id);
    assert.deepEqual([error?.code, error?.param], ["model_not_found", "load.depth_model"]);
  }
});

describe("a job of kind depth", () => {
  test("keeps the map of its photo, with the same values as depth at once", async () => {
    const { blob } = await service.blobs.put(photo());
    const request = { image: { blob: blob.id }, depth_near: 95, depth_gamma: 2 };
    const job = await service.finished((await service.submit({ kind: "depth", request })).job.id);
    assert.deepEqual([job.state, job.seed, job.steps, job.image], ["succeeded", null, null, null]);
    assert.deepEqual([job.depth!.width, job.depth!.height], [512, 512]);
    const { map } = await service.atOnce.depth(photo(), { near: 95, gamma: 2 });
    assert.deepEqual(await service.results.depthMap(job.id), map);
    await assert.rejects(service.results.image(job.id), { code: "no_image" });
  });
});

describe("a plan", () => {
  test("says what a job would need, and starts nothing", async () => {
    const listed = service.list().data;
    const body = await generation(service, { width: 512, height: 512 });
    const plan = await service.atOnce.plan(body);
    assert.equal(plan.fits, true);
    assert.deepEqual(
      plan.stages.map(({ stage }) => stage),
      ["text", "control", "denoise", "decode"],
    );
    assert.ok(plan.peak_bytes > 1e8 && plan.peak_bytes < plan.available_bytes);
    assert.equal(plan.estimated_seconds, null);
    assert.deepEqual(service.list().data, listed);
  });

  test("knows how long a job takes once one like it has run", async () => {
    const body = await generation(service);
    await service.finished((await service.submit(body)).job.id);
    const seconds = (await service.atOnce.plan(body)).estimated_seconds;
    assert.ok(seconds !== null && seconds > 0 && seconds < 60);
  });

  test("of a comparison counts the judge", async () => {
    const { stages } = await service.atOnce.plan(await generation(service, { best_of: 2 }));
    assert.equal(stages.at(-1)!.stage, "judge");
  });

  test("says that an estimator is missing, without saying where it looked", async (t) => {
    const service = await openService(t, {
      load: { model: "tiny-world", depthModel: "nobody/absent" },
      env: emptyCache(t),
    });
    const { blob } = await service.blobs.put(photo());
    const { request } = await generation(service, { depth_image: null, image: { blob: blob.id } });
    const { notes } = await service.atOnce.plan({ kind: "generate", request });
    assert.match(notes.join(), /^The stage depth is left out: nobody\/absent: /);
    assert.doesNotMatch(notes.join(), /\/tmp/);
  });

  test("of a job that is not possible names the field", async () => {
    const body = await generation(service, { steps: 0 });
    await assert.rejects(service.atOnce.plan(body), { code: "out_of_range", param: "request.steps" });
  });
});
