import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import sharp from "sharp";
import type { DepthEstimate } from "../../src/depth/estimate.js";
import { openEstimator } from "../../src/depth/open.js";
import {
  type DepthJob,
  type DepthResult,
  Engine,
  type EngineEvent,
  type EngineJob,
} from "../../src/engine/index.js";
import { EngineError, ImageError, MemoryError, ModelError, OptionError } from "../../src/errors.js";
import { decodeMap } from "../../src/images/index.js";
import { resolveLoadOptions, resolveRequest } from "../../src/options/index.js";
import { planModel } from "../../src/pipeline/plan.js";
import { job, load, when } from "../support/engine.js";
import { largestDifference } from "../support/images.js";
import { exampleImage } from "../support/tiny-world.js";

const photo = readFileSync(exampleImage("cube.png"));
const depthJob = (more: Partial<DepthJob> = {}): DepthJob => ({ load, photo, ...more });

/** Long enough for an estimate in between. */
const longJob: EngineJob = { ...job({ steps: 20, width: 192, height: 192 }), includeLatents: true };

const isStep = (event: EngineEvent): boolean => event.type === "step";

describe("an estimate", () => {
  const engine = new Engine();
  let expected: DepthEstimate;
  before(async () => {
    using estimator = await openEstimator({ depthModel: "tiny-world" });
    expected = await estimator.estimate(photo);
  });
  after(() => engine.close());

  test("gives inverse depth as the estimator predicts it, and the size of the photo", async () => {
    const { width, height, inverse, map } = await engine.estimateDepth(depthJob());
    assert.deepEqual([width, height], [expected.width, expected.height]);
    const { data, width: w, height: h } = expected.inverseDepth;
    assert.deepEqual([inverse.width, inverse.height], [w, h]);
    assert.ok(largestDifference(inverse.data, data) < 1e-5 * expected.range.max);
    assert.equal(map, null);
  });

  for (const [encode, tolerance] of [
    ["png", 1 / 255],
    ["png16", 2 / 65535],
  ] as const)
    test(`gives the adjusted map as ${encode}`, async () => {
      const adjustments = { near: 95, far: 5, gamma: 0.8, invert: true };
      const { map } = await engine.estimateDepth(depthJob({ adjustments, encode }));
      const { data } = expected.map(undefined, undefined, adjustments);
      assert.ok(largestDifference((await decodeMap(map!)).data, data) <= tolerance);
    });

  test("gives the adjusted map as npy", async () => {
    const { map } = await engine.estimateDepth(depthJob({ adjustments: { gamma: 2 }, encode: "npy" }));
    const { data } = expected.map(undefined, undefined, { gamma: 2 });
    const values = Buffer.from(map!).subarray(map!.length - 4 * data.length);
    assert.ok(data.every((value, i) => Math.abs(values.readFloatLE(4 * i) - value) < 1e-4));
  });

  test("refuses a photo that cannot be read, and the name of a file", async () => {
    await assert.rejects(engine.estimateDepth(depthJob({ photo: new Uint8Array(100) })), ImageError);
    const name = "photo.jpg" as unknown as Uint8Array;
    await assert.rejects(
      engine.estimateDepth(depthJob({ photo: name })),
      (error) => error instanceof OptionError && error.option === "photo",
    );
  });

  test("refuses adjustments that contradict each other", () =>
    assert.rejects(engine.estimateDepth(depthJob({ adjustments: { near: 5, far: 5 } })), OptionError));

  test("rejects with the signal's reason, and the next one succeeds", async () => {
    const controller = new AbortController();
    const cancelled = engine.estimateDepth(depthJob(), { signal: controller.signal });
    controller.abort(new Error("not needed"));
    await assert.rejects(cancelled, /not needed/);
    assert.equal((await engine.estimateDepth(depthJob())).width, expected.width);
  });

  test("rejects when the engine is closed, and so do later ones", async () => {
    const other = new Engine();
    const estimate = assert.rejects(other.estimateDepth(depthJob()), EngineError);
    await other.close();
    await estimate;
    await assert.rejects(other.estimateDepth(depthJob()), /closed/);
  });
});

describe("an estimate during a generation", () => {
  /** Generates, and estimates depth after the third step. */
  async function both(engine: Engine) {
    const order: string[] = [];
    const events: EngineEvent[] = [];
    const { onEvent, seen } = when((event) => event.type === "step" && event.index === 3);
    const generation = engine.generate(longJob, {
      onEvent: (event) => {
        events.push(event);
        onEvent(event);
      },
    });
    void generation.then(() => order.push("generation"));
    await seen;
    let stepsWhileEstimating = 0;
    const before = events.length;
    const depth = await engine.estimateDepth(depthJob());
    order.push("depth");
    stepsWhileEstimating = events.slice(before).filter(isStep).length;
    const result = await generation;
    return { order, events, depth, result, stepsWhileEstimating };
  }

  const plain = new Engine();
  let latents: Float32Array;
  let inverse: DepthResult["inverse"];
  before(async () => {
    latents = (await plain.generate(longJob)).latents!.data;
    inverse = (await plain.estimateDepth(depthJob())).inverse;
  });
  after(() => plain.close());

  test("runs next to it in another process if memory allows both", async () => {
    const { order, depth, result } = await both(plain);
    assert.deepEqual(order, ["depth", "generation"]);
    assert.deepEqual(depth.inverse, inverse);
    assert.deepEqual(result.latents!.data, latents);
  });

  describe("with memory for one of them only", () => {
    // A generation takes 0.2 GB at its peak, and holds 0.17 GB between two steps; an estimate takes 0.07 GB.
    const small = new Engine({ env: { ...process.env, MFLUX_DEPTH_MEMORY_GB: "0.27" } });
    after(() => small.close());

    test("runs between two steps, without unloading the model", async () => {
      const { order, events, depth, result } = await both(small);
      assert.deepEqual(order, ["depth", "generation"]);
      const afterThird = events.slice(
        events.findIndex((event) => event.type === "step" && event.index === 3),
      );
      assert.ok(!afterThird.some((event) => event.type === "load" && event.component === "transformer"));
      assert.deepEqual(depth.inverse, inverse);
      assert.deepEqual(result.latents!.data, latents);
    });

    test("that fails does not affect the generation", async () => {
      const { onEvent, seen } = when(isStep);
      const generation = small.generate(longJob, { onEvent });
      await seen;
      await assert.rejects(small.estimateDepth(depthJob({ photo: new Uint8Array(100) })), ImageError);
      assert.deepEqual((await generation).latents!.data, latents);
    });

    test("that is cancelled does not affect the generation", async () => {
      const { onEvent, seen } = when(isStep);
      const generation = small.generate(longJob, { onEvent });
      await seen;
      const signal = AbortSignal.timeout(20);
      const other = readFileSync(exampleImage("room.png"));
      await assert.rejects(small.estimateDepth(depthJob({ photo: other }), { signal }), {
        name: "TimeoutError",
      });
      assert.deepEqual((await generation).latents!.data, latents);
    });
  });

  test("is refused with the figures if memory allows neither", async () => {
    const tiny = new Engine({ env: { ...process.env, MFLUX_DEPTH_MEMORY_GB: "0.2" } });
    await assert.rejects(
      tiny.estimateDepth(depthJob()),
      (error) => error instanceof MemoryError && /Estimating depth needs about \d/.test(error.message),
    );
    await tiny.close();
  });
});

describe("a plan", () => {
  const engine = new Engine();
  after(() => engine.close());

  test("equals that of the pipeline", async () => {
    const { stages, peak, fits } = await engine.planJob(job());
    const expected = await planModel(
      resolveLoadOptions({ ...load, offline: true }),
      resolveRequest({ ...job().request, depthImage: "any" }),
    );
    assert.deepEqual({ stages, peak, fits }, { stages: expected.stages, peak: expected.peak, fits: true });
  });

  test("counts exact previews, which keep the autoencoder in memory", async () => {
    const low = { ...job(), load: { ...load, memory: "low" as const } };
    const denoise = async (previews?: EngineJob["previews"]) =>
      (await engine.planJob({ ...low, previews })).stages.find(({ stage }) => stage === "denoise")!.weights;
    assert.ok((await denoise({ every: 1, kind: "exact" })) > (await denoise()));
    assert.equal(await denoise({ every: 1, kind: "fast" }), await denoise());
  });

  test("counts the judge of an image that is scored", async () => {
    const { stages } = await engine.planJob({ ...job(), includeFidelity: true });
    assert.equal(stages.at(-1)!.stage, "judge");
  });

  test("is made while a generation runs", async () => {
    const { onEvent, seen } = when(isStep);
    const controller = new AbortController();
    let done = false;
    const generation = engine.generate(longJob, { onEvent, signal: controller.signal }).finally(() => {
      done = true;
    });
    await seen;
    const { fits } = await engine.planJob(job({ width: 512, height: 512 }));
    assert.deepEqual([fits, done], [true, false]);
    controller.abort();
    await assert.rejects(generation, { name: "AbortError" });
  });

  test("says what would fit where a job does not", async () => {
    const small = new Engine({ env: { ...process.env, MFLUX_DEPTH_MEMORY_GB: "0.22" } });
    const { fits, alternatives } = await small.planJob(job({ width: 1024, height: 1024 }));
    await small.close();
    assert.equal(fits, false);
    assert.ok(alternatives.length > 0);
  });

  test("does not need the images, only to know that they are there", async () => {
    const { stages } = await engine.planJob(job({ image: new Uint8Array(3), depthImage: null }));
    assert.ok(stages.some(({ stage }) => stage === "depth"));
  });

  test("refuses a model that is not here, and invalid options", async () => {
    await assert.rejects(engine.planJob({ ...job(), load: { model: "nobody/nothing" } }), ModelError);
    await assert.rejects(engine.planJob(job({ steps: 51 })), OptionError);
  });
});

test("a map is as large as the upright photo", async () => {
  const engine = new Engine();
  const turned = await sharp(photo)
    .resize(64, 48, { fit: "fill" })
    .jpeg()
    .withMetadata({ orientation: 6 })
    .toBuffer();
  const { width, height, map } = await engine.estimateDepth(depthJob({ photo: turned, encode: "png" }));
  await engine.close();
  const decoded = await decodeMap(map!);
  assert.deepEqual([width, height, decoded.width, decoded.height], [48, 64, 48, 64]);
});
