import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  evaluateSync,
  loadSafetensors,
  type MxArray,
  memory,
  scope,
  transpose,
  zeros,
} from "@mflux-depth/mlx";
import { lazily } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../../src/errors.js";
import { readConfig } from "../../../src/files/json.js";
import {
  DepthAnything,
  depthAnythingConfig,
  depthAnythingKey,
} from "../../../src/models/depth-anything/index.js";
import { openCheckpoint } from "../../../src/weights/checkpoint.js";
import { loadWeights } from "../../../src/weights/load.js";
import { at, relativeError, values } from "../../support/tensors.js";

const folder = at("test/golden/depth_anything");
const golden = loadSafetensors(`${folder}/golden.safetensors`).arrays;
const json = readConfig(folder, "config.json");

/** A small random model in the layout of Depth Anything V2 Small. */
async function loadModel(change: object = {}): Promise<DepthAnything> {
  const model = new DepthAnything(depthAnythingConfig({ ...json, ...change }, "config.json"));
  await loadWeights(model, openCheckpoint(folder), { dtype: "float32", rename: depthAnythingKey });
  return model;
}

const pixels = (name: string): MxArray => scope(() => transpose(golden.get(`pixels_${name}`)!, [0, 2, 3, 1]));

describe("DepthAnything", () => {
  let model: DepthAnything;
  before(async () => {
    model = await loadModel();
  });

  // A square image, one that is not square, and the trained size, whose position embeddings are not interpolated.
  for (const name of ["0", "1", "native"])
    test(`gives image ${name} the depth that transformers gives`, async () => {
      using input = pixels(name);
      using depth = await model.forward(input);
      assert.deepEqual(depth.shape, golden.get(`depth_${name}`)!.shape);
      const error = relativeError(values(depth), values(golden.get(`depth_${name}`)!));
      assert.ok(error < 2e-6, `relative error ${error}`);
    });

  test("gives metres that transformers gives if the model is metric", async () => {
    using metric = await loadModel({ depth_estimation_type: "metric", max_depth: 20 });
    using input = pixels("0");
    using depth = await metric.forward(input);
    const error = relativeError(values(depth), values(golden.get("metric_0")!));
    assert.ok(error < 2e-6, `relative error ${error}`);
  });

  test("gives the same result as one lazy graph", () => {
    using input = pixels("1");
    using depth = lazily(model.stages(input));
    assert.ok(relativeError(values(depth), values(golden.get("depth_1")!)) < 2e-6);
  });

  test("reports progress that rises to 1", async () => {
    using input = pixels("0");
    const seen: number[] = [];
    using _depth = await model.forward(input, { onProgress: (done) => seen.push(done) });
    assert.ok(seen.length > 8);
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
    assert.equal(seen.at(-1), 1);
  });

  test("ends with the signal's reason when it is cancelled, and holds nothing", async () => {
    using input = pixels("0");
    evaluateSync(input);
    const handles = memory.liveHandles();
    const reason = new Error("enough");
    for (const share of [0, 0.5, 0.8, 0.9]) {
      const controller = new AbortController();
      const onProgress = (done: number): void => {
        if (done >= share) controller.abort(reason);
      };
      await assert.rejects(
        model.forward(input, { signal: controller.signal, onProgress }),
        (error) => error === reason,
      );
      // Garbage of other tests may have been collected meanwhile.
      assert.ok(memory.liveHandles() <= handles, `after cancelling at ${share}`);
    }
  });

  for (const shape of [
    [1, 126, 130, 3],
    [2, 126, 126, 3],
    [1, 126, 126, 1],
  ])
    test(`refuses an image of shape [${shape}]`, async () => {
      using wrong = zeros(shape);
      await assert.rejects(
        model.forward(wrong),
        (error) => error instanceof ModelError && /multiples of 14/.test(error.message),
      );
    });
});

describe("depthAnythingKey", () => {
  test("leaves out the mask token and the coarsest level's first residual layer, and nothing else", () => {
    const names = [...openCheckpoint(folder).fileOf.keys()];
    const unused = names.filter((name) => depthAnythingKey(name) === null);
    assert.deepEqual(
      unused.filter((name) => !name.startsWith("neck.fusion_stage.layers.0.residual_layer1.")),
      ["backbone.embeddings.mask_token"],
    );
    assert.equal(unused.length, 5);
  });

  test("translates the attention's names of transformers 5", () =>
    assert.equal(
      depthAnythingKey("backbone.encoder.layer.3.attention.q_proj.weight"),
      "backbone.encoder.layer.3.attention.attention.query.weight",
    ));
});
