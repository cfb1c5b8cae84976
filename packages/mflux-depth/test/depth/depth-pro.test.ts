import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { array, loadSafetensors, type MxArray, memory, saveSafetensors, zeros } from "@mflux-depth/mlx";
import { canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import sharp from "sharp";
import { openDepthPro, preprocess } from "../../src/depth/depth-pro.js";
import type { DepthEstimator } from "../../src/depth/estimator.js";
import { ModelError } from "../../src/errors.js";
import { readDepthMap, readPhoto } from "../../src/images/decode.js";
import { largestDifference, meanAbsoluteDifference } from "../support/images.js";
import { at } from "../support/tensors.js";

const bundled = at("models/tiny-world/depth_pro");
const example = (name: string): string => at(`../../examples/images/${name}`);
const pictures = ["astronaut.jpg", "cube.png", "portrait.png"];
const photos: string[] = JSON.parse(readFileSync(at("test/golden/index.json"), "utf8")).photos;

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-depth-pro-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Opens a model and lists when weights begin and end to be read. */
function openLogged(path: string): { estimator: DepthEstimator; loads: string[] } {
  const loads: string[] = [];
  const onLoad = ({ state }: { state: string }): void => void (state !== "read" && loads.push(state));
  return { estimator: openDepthPro(path, { onLoad }), loads };
}

describe("preprocess", () => {
  const golden = loadSafetensors(at("test/golden/depth_pro.safetensors")).arrays;

  for (const [i, name] of photos.entries())
    test(`matches transformers on ${name} within 1e-5`, async () => {
      const [, , side] = golden.get(`pixels_${i}`)!.shape as [number, number, number, number];
      const half = [0.5, 0.5, 0.5];
      const found = preprocess(await readPhoto(example(name)), { side, mean: half, deviation: half });
      const expected = golden.get(`pixels_${i}`)!.toTypedArray() as Float32Array;
      // The golden has its channels first.
      const channelsFirst = expected.map((_, position) => {
        const [c, pixel] = [Math.floor(position / side ** 2), position % side ** 2];
        return found[3 * pixel + c]!;
      });
      assert.ok(largestDifference(channelsFirst, expected) < 1e-5);
    });
});

describe("the bundled model", () => {
  let estimator: DepthEstimator;
  before(() => {
    estimator = openDepthPro(bundled, {});
  });
  after(() => estimator.free());

  for (const [i, name] of photos.entries())
    test(`maps ${name} like the reference, within 2 of 255`, async () => {
      const estimate = await estimator.estimate(example(name));
      const expected = await readDepthMap(at(`test/golden/depth_${i}.png`));
      assert.deepEqual([estimate.width, estimate.height], [expected.width, expected.height]);
      assert.ok(largestDifference(estimate.map().data, expected.data) < 2 / 255);
      const file = await estimate.encode({ format: "png" });
      assert.equal((await sharp(file).metadata()).channels, 1);
      assert.ok(largestDifference((await readDepthMap(file)).data, expected.data) <= 2.0001 / 255);
    });

  test("changes maps by less than 1 of 255 with 8 bits per weight", async () => {
    using small = openDepthPro(bundled, { bits: 8 });
    assert.ok(small.size().bytes < estimator.size().bytes);
    for (const name of photos) {
      const [plain, quantized] = [
        await estimator.estimate(example(name)),
        await small.estimate(example(name)),
      ];
      const difference = largestDifference(quantized.map().data, plain.map().data);
      assert.ok(difference > 0 && difference < 1 / 255, `${name}: ${255 * difference} of 255`);
    }
  });

  for (const name of pictures)
    test(`changes the map of ${name} by less than 2 of 255 with 8-bit inputs`, {
      skip: canMultiplyIntegers(8) ? false : "this machine has no such products",
    }, async () => {
      using fast = openDepthPro(bundled, { bits: 8, int8: true });
      const [plain, rounded] = [await estimator.estimate(example(name)), await fast.estimate(example(name))];
      const [one, other] = [rounded.map().data, plain.map().data];
      const [mean, most] = [meanAbsoluteDifference(one, other), largestDifference(one, other)];
      assert.ok(mean > 1e-3 / 255 && mean < 0.2 / 255, `${255 * mean} of 255 on average`);
      assert.ok(most < 2 / 255, `${255 * most} of 255 at most`);
    });

  test("predicts canonical inverse depth", async () => {
    const { prediction } = await estimator.estimate(example("cube.png"));
    assert.deepEqual([prediction.quantity, prediction.scale], ["inverse-depth", "canonical"]);
  });

  test("names its type, its model and its folder", () => {
    assert.deepEqual(
      [estimator.modelType, estimator.name, estimator.folder],
      ["depth_pro", "Depth Pro", bundled],
    );
  });

  test("reads weights for the first estimate, and releases them when freed", async () => {
    const { estimator: own, loads } = openLogged(bundled);
    assert.deepEqual(loads, []);
    const before = memory.liveHandles();
    await own.estimate(example("room.png"));
    assert.deepEqual(loads, ["start", "end"]);
    assert.ok(memory.liveHandles() > before);
    own.free();
    assert.equal(memory.liveHandles(), before);
  });

  test("knows the size of its weights before it reads them", async () => {
    const { estimator: own, loads } = openLogged(bundled);
    const { bytes } = own.size();
    assert.deepEqual(loads, []);
    await own.estimate(example("room.png"));
    // Freeing releases only the weights; other arrays may live until they are collected.
    const before = memory.activeMemory();
    own.free();
    const held = before - memory.activeMemory();
    // Buffers are rounded up to the allocator's step.
    assert.ok(held >= bytes && held < 1.05 * bytes + 20_000, `${held} held, ${bytes} expected`);
  });

  test("takes no more than its working memory", async () => {
    const own = openDepthPro(bundled, { cacheLimit: 0 });
    await own.estimate(example("room.png"));
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    await own.estimate(example("cube.png"));
    const peak = memory.peakMemory() - before;
    own.free();
    assert.ok(peak > 0 && peak <= own.workingMemory(), `${peak} of ${own.workingMemory()}`);
  });

  test("ends with the signal's reason when it is cancelled", async () => {
    const controller = new AbortController();
    const running = estimator.estimate(example("mountains.png"), {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("enough")),
    });
    await assert.rejects(running, /^Error: enough$/);
  });
});

// ---------------------------------------------------------------- field of view

/** Copies the bundled model and adds a field-of-view head: the image encoder's weights again, and small numbers. */
async function modelWithFov(): Promise<string> {
  const target = join(folder, "with-fov");
  cpSync(bundled, target, { recursive: true });
  const config = JSON.parse(readFileSync(join(bundled, "config.json"), "utf8"));
  writeFileSync(join(target, "config.json"), JSON.stringify({ ...config, use_fov_model: true }));
  const { arrays } = loadSafetensors(join(bundled, "model.safetensors"));
  const encoder = "depth_pro.encoder.image_encoder.";
  for (const [key, tensor] of [...arrays])
    if (key.startsWith(encoder)) arrays.set(`fov_model.fov_encoder.${key.slice(encoder.length)}`, tensor);
  const add = (name: string, shape: number[], bias: number): void => {
    const count = shape.reduce((a, b) => a * b);
    const weight: MxArray = array(
      Float32Array.from({ length: count }, (_, i) => 0.05 * Math.cos(i)),
      { shape },
    );
    arrays.set(`fov_model.${name}.weight`, weight);
    arrays.set(`fov_model.${name}.bias`, array(new Float32Array(shape[0]!).fill(bias)));
  };
  add("fov_encoder.neck", [8, 64], 0);
  add("conv", [8, 16, 3, 3], 0.1);
  add("head.layers.0", [4, 8, 3, 3], 0.1);
  add("head.layers.2", [2, 4, 3, 3], 0.1);
  add("head.layers.4", [1, 2, 2, 2], 60);
  await saveSafetensors(join(target, "model.safetensors"), arrays);
  return target;
}

describe("a model with a field-of-view head", () => {
  let path: string;
  before(async () => {
    path = await modelWithFov();
  });

  test("estimates the focal length", async () => {
    using estimator = openDepthPro(path, {});
    const { fieldOfView, focalLength, focalLengthFrom } = await estimator.estimate(example("cube.png"));
    assert.ok(fieldOfView! > 50 && fieldOfView! < 70, `${fieldOfView} degrees`);
    assert.equal(focalLengthFrom, "model");
    assert.ok(Math.abs(focalLength! - 128 / Math.tan((fieldOfView! * Math.PI) / 360)) < 1e-6);
  });

  test("knows distances in metres", async () => {
    using estimator = openDepthPro(path, {});
    const { data, metres, focalLength } = await estimator.estimate(example("cube.png"));
    for (const i of [0, 1000, 40_000]) {
      const expected = 1 / Math.min(Math.max((data[i]! * 256) / focalLength!, 1e-4), 1e4);
      assert.ok(Math.abs(metres![i]! / expected - 1) < 1e-6);
    }
  });

  test("reads the head only when a field of view is asked for", async () => {
    const { estimator, loads } = openLogged(path);
    using own = estimator;
    const blind = await own.estimate(example("shapes.png"), { fieldOfView: false });
    assert.equal(blind.fieldOfView, undefined);
    assert.equal(loads.length, 2);
    const seen = await own.estimate(example("shapes.png"));
    assert.ok(seen.fieldOfView !== undefined);
    assert.equal(loads.length, 4);
    assert.ok(largestDifference(seen.data, blind.data) < 1e-6);
  });

  test("counts weights without the head, as a map needs them", () => {
    const [plain, withHead] = [bundled, path].map((one) => openDepthPro(one, {}).size().bytes);
    assert.equal(withHead, plain);
  });
});

// ---------------------------------------------------------------- damaged models

describe("opening", () => {
  const config = readFileSync(join(bundled, "config.json"), "utf8");
  const made = (name: string, files: Record<string, string>): string => {
    const path = join(folder, name);
    mkdirSync(path, { recursive: true });
    for (const [file, text] of Object.entries({ "config.json": config, ...files }))
      writeFileSync(join(path, file), text);
    return path;
  };
  const preprocessor = (values: object) => ({ "preprocessor_config.json": JSON.stringify(values) });

  const refused: [string, Record<string, string>, RegExp][] = [
    ["a folder without weights", {}, /contains no weights/],
    ["pickled weights", { "pytorch_model.bin": "" }, /pickle/],
    ["an input that is too small", preprocessor({ size: { width: 64, height: 64 } }), /"size".*128 or more/],
    ["an input that is not square", preprocessor({ size: { width: 256, height: 128 } }), /"size".*square/],
    ["another resampling", preprocessor({ resample: 3 }), /"resample" is 3; expected 2/],
    ["a mean without channels", preprocessor({ image_mean: 0.5 }), /"image_mean".*three numbers/],
    ["a factor of zero", preprocessor({ rescale_factor: 0 }), /"rescale_factor" is 0/],
  ];
  for (const [what, files, message] of refused)
    test(`refuses ${what}`, () => {
      const path = made(what.replaceAll(" ", "-"), files);
      assert.throws(
        () => openDepthPro(path, {}),
        (error: Error) => error instanceof ModelError && message.test(error.message),
      );
    });

  test("leaves weights of another size to the first estimate, which names the tensor", async () => {
    const path = made("misfit", {});
    const { arrays } = loadSafetensors(join(bundled, "model.safetensors"));
    arrays.set("head.layers.4.weight", zeros([2, 32, 1, 1]));
    await saveSafetensors(join(path, "model.safetensors"), arrays);
    using estimator = openDepthPro(path, {});
    await assert.rejects(
      estimator.estimate(example("cube.png")),
      (error: Error) => error instanceof ModelError && /head\.layers\.4\.weight/.test(error.message),
    );
  });
});
