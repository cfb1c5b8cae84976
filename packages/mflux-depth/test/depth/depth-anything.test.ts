import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { loadSafetensors, memory } from "@mflux-depth/mlx";
import { inputSizeFor, openDepthAnything, preprocess } from "../../src/depth/depth-anything.js";
import type { DepthEstimator } from "../../src/depth/estimator.js";
import { openEstimator } from "../../src/depth/open.js";
import { ModelError } from "../../src/errors.js";
import { readDepthMap, readPhoto } from "../../src/images/decode.js";
import { largestDifference } from "../support/images.js";
import { at, relativeError, values } from "../support/tensors.js";

const model = at("test/golden/depth_anything");
const golden = loadSafetensors(join(model, "golden.safetensors")).arrays;
const photos = ["astronaut.jpg", "coffee.jpg"].map((name) => at(`../../examples/images/${name}`));

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-depth-anything-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of the model with other values in one of its configs. */
function changed(name: string, file: string, change: object): string {
  const path = join(folder, name.replaceAll(" ", "-"));
  cpSync(model, path, { recursive: true });
  const json = JSON.parse(readFileSync(join(path, file), "utf8"));
  writeFileSync(join(path, file), JSON.stringify({ ...json, ...change }));
  return path;
}

const input = {
  size: { width: 182, height: 182 },
  keepAspectRatio: true,
  multiple: 14,
  mean: [0.485, 0.456, 0.406],
  deviation: [0.229, 0.224, 0.225],
};

describe("inputSizeFor", () => {
  const of = (width: number, height: number, change: object = {}): number[] => {
    const size = inputSizeFor({ width, height }, { ...input, ...change });
    return [size.width, size.height];
  };

  test("scales by the factor nearer to 1, which may exceed the configured size", () => {
    assert.deepEqual(of(512, 512), [182, 182]);
    assert.deepEqual(of(600, 400), [280, 182]);
    assert.deepEqual(of(400, 600), [182, 280]);
    assert.deepEqual(of(100, 60), [182, 112]);
  });

  test("rounds halves to even multiples", () => {
    // 182 · 175 / 182 = 12.5 patches, and 189 / 14 = 13.5.
    assert.deepEqual(of(175, 182), [168, 182]);
    assert.deepEqual(of(189, 182), [196, 182]);
  });

  test("stretches each side if the aspect ratio is not kept", () =>
    assert.deepEqual(of(600, 400, { keepAspectRatio: false }), [182, 182]));

  test("limits the longer side of a very long photo, and keeps at least one patch", () => {
    assert.deepEqual(of(4000, 400), [728, 182]);
    assert.deepEqual(of(20_000, 20), [182, 14]);
  });
});

describe("preprocess", () => {
  for (const [i, path] of photos.entries())
    test(`matches Pillow and the normalization of transformers on photo ${i} within 1e-6`, async () => {
      const { data, width, height } = await preprocess(await readPhoto(path), input);
      const expected = golden.get(`pixels_${i}`)!;
      assert.deepEqual(expected.shape, [1, 3, height, width]);
      const channelsFirst = Float32Array.from(data, (_, position) => {
        const [c, pixel] = [Math.floor(position / (width * height)), position % (width * height)];
        return data[3 * pixel + c]!;
      });
      assert.ok(relativeError(channelsFirst, values(expected)) < 1e-6);
    });
});

describe("a small Depth Anything", () => {
  let estimator: DepthEstimator;
  before(async () => {
    estimator = await openEstimator({ depthModel: model, depthQuantize: "none" });
  });
  after(() => estimator.free());

  for (const [i, path] of photos.entries())
    test(`maps photo ${i} like the reference, within 2 of 255`, async () => {
      const estimate = await estimator.estimate(path);
      const expected = await readDepthMap(join(model, `depth_${i}.png`));
      assert.deepEqual([estimate.width, estimate.height], [expected.width, expected.height]);
      assert.ok(largestDifference(estimate.map().data, expected.data) < 2 / 255);
      const error = relativeError(estimate.prediction.data, values(golden.get(`depth_${i}`)!));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  test("matches transformers at the real model's size", async () => {
    const path = changed("size of 518", "preprocessor_config.json", { size: { width: 518, height: 518 } });
    using large = openDepthAnything(path, {});
    const { prediction } = await large.estimate(photos[0]!);
    const error = relativeError(prediction.data, values(golden.get("depth_518")!));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("predicts relative inverse depth, which has no metres and no field of view", async () => {
    const estimate = await estimator.estimate(photos[0]!);
    const { quantity, scale } = estimate.prediction;
    assert.deepEqual([quantity, scale], ["inverse-depth", "relative"]);
    assert.equal(estimate.metres, undefined);
    assert.equal(estimate.fieldOfView, undefined);
    await assert.rejects(estimate.encode({ format: "npy", metres: true }), /relative depth only/);
  });

  test("predicts metres if the model is metric", async () => {
    const path = changed("metric", "config.json", { depth_estimation_type: "metric", max_depth: 20 });
    using metric = openDepthAnything(path, {});
    const estimate = await metric.estimate(photos[0]!);
    assert.deepEqual([estimate.prediction.quantity, estimate.prediction.scale], ["depth", "metric"]);
    assert.ok(relativeError(estimate.prediction.data, values(golden.get("metric_0")!)) < 2e-5);
    assert.ok(estimate.metres!.every((distance) => distance > 0 && distance <= 20));
  });

  test("names its type, its model and its folder", () =>
    assert.deepEqual(
      [estimator.modelType, estimator.name, estimator.folder],
      ["depth_anything", "Depth Anything", model],
    ));

  test("reads weights for the first estimate, and releases them when freed", async () => {
    const states: string[] = [];
    const own = openDepthAnything(model, { onLoad: ({ state }) => states.push(state) });
    assert.deepEqual(states, []);
    const before = memory.liveHandles();
    await own.estimate(photos[0]!);
    assert.deepEqual([states[0], states.at(-1)], ["start", "end"]);
    assert.ok(memory.liveHandles() > before);
    own.free();
    // Garbage of other tests may have been collected meanwhile.
    assert.ok(memory.liveHandles() <= before);
  });

  test("takes no more than its working memory", async () => {
    const own = openDepthAnything(model, { cacheLimit: 0 });
    await own.estimate(photos[0]!);
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    await own.estimate(photos[1]!);
    const peak = memory.peakMemory() - before;
    own.free();
    assert.ok(peak > 0 && peak <= own.workingMemory(), `${peak} of ${own.workingMemory()}`);
  });
});

describe("opening a Depth Anything", () => {
  const refused: [string, object, RegExp][] = [
    ["another resampling", { resample: 2 }, /"resample" is 2; expected 3 \(bicubic\)/],
    ["padding", { do_pad: true }, /"do_pad" is true/],
    [
      "sides that are not whole patches",
      { ensure_multiple_of: 32 },
      /"ensure_multiple_of" is 32.*multiple of 14/,
    ],
    ["a size without a height", { size: { width: 518 } }, /"size".*a width and a height/],
    ["a deviation without channels", { image_std: 1 }, /"image_std" is 1; expected three numbers/],
  ];
  for (const [what, change, message] of refused)
    test(`refuses ${what}`, () => {
      const path = changed(what, "preprocessor_config.json", change);
      assert.throws(
        () => openDepthAnything(path, {}),
        (error: Error) => error instanceof ModelError && message.test(error.message),
      );
    });

  test("refuses the folder of another estimator", () =>
    assert.throws(
      () => openDepthAnything(at("models/tiny-world/depth_pro"), {}),
      (error: Error) =>
        error instanceof ModelError && /"depth_pro"; expected Depth Anything/.test(error.message),
    ));

  test("refuses weights of another model when it reads them, and names the tensor", async () => {
    const path = changed("misfit", "config.json", { fusion_hidden_size: 22 });
    using misfit = openDepthAnything(path, {});
    await assert.rejects(
      misfit.estimate(photos[0]!),
      (error: Error) => error instanceof ModelError && /neck\.|head\./.test(error.message),
    );
  });
});
