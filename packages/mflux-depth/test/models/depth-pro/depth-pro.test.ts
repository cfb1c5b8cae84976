import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  array,
  evaluateSync,
  loadSafetensors,
  type MxArray,
  memory,
  random,
  scope,
  square,
  transpose,
  zeros,
} from "@mflux-depth/mlx";
import { lazily, randomize } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../../src/errors.js";
import { readConfig } from "../../../src/files/json.js";
import {
  DepthPro,
  type DepthProConfig,
  depthProConfig,
  depthProKey,
} from "../../../src/models/depth-pro/index.js";
import { openCheckpoint } from "../../../src/weights/checkpoint.js";
import { loadWeights } from "../../../src/weights/load.js";
import { type Grid, noise, toArray } from "../../support/grid.js";
import { PlainDepthPro } from "../../support/plain-depth-pro.js";
import { at, relativeError, values } from "../../support/tensors.js";

const bundled = at("models/tiny-world/depth_pro");

async function loadBundled(): Promise<DepthPro> {
  const config = depthProConfig(readConfig(bundled, "config.json"), "config.json");
  const model = new DepthPro(config);
  await loadWeights(model, openCheckpoint(bundled), { dtype: "float32", rename: depthProKey(config) });
  return model;
}

// ---------------------------------------------------------------- against transformers

describe("the bundled model", () => {
  let model: DepthPro;
  const golden = loadSafetensors(at("test/golden/depth_pro.safetensors")).arrays;
  const pixels = (i: number): MxArray => scope(() => transpose(golden.get(`pixels_${i}`)!, [0, 2, 3, 1]));

  before(async () => {
    model = await loadBundled();
  });

  for (const i of [0, 1, 2])
    test(`gives photo ${i} the depth that transformers gives`, async () => {
      using input = pixels(i);
      const { depth, fov } = await model.forward(input);
      using held = depth;
      assert.equal(fov, null);
      assert.deepEqual(held.shape, golden.get(`depth_${i}`)!.shape);
      const error = relativeError(values(held), values(golden.get(`depth_${i}`)!));
      assert.ok(error < 2e-6, `relative error ${error}`);
    });

  test("gives the same result for any working set", async () => {
    using input = pixels(1);
    const { depth: whole } = await model.forward(input, { workingSet: 2 ** 40 });
    const { depth: pieces } = await model.forward(input, { workingSet: 2 ** 23 });
    const error = relativeError(values(pieces), values(whole));
    assert.ok(error < 1e-6, `relative error ${error}`);
    whole.dispose();
    pieces.dispose();
  });

  test("ends with the signal's reason when it is cancelled, and holds nothing", async () => {
    using input = pixels(0);
    evaluateSync(input);
    const handles = memory.liveHandles();
    const reason = new Error("enough");
    for (const share of [0, 0.3, 0.81]) {
      const controller = new AbortController();
      const onProgress = (done: number): void => {
        if (done >= share) controller.abort(reason);
      };
      await assert.rejects(
        model.forward(input, { signal: controller.signal, onProgress }),
        (error) => error === reason,
      );
      assert.equal(memory.liveHandles(), handles, `after cancelling at ${share}`);
    }
  });

  test("reports progress that rises to 1", async () => {
    using input = pixels(0);
    const seen: number[] = [];
    const { depth } = await model.forward(input, { onProgress: (done) => seen.push(done) });
    depth.dispose();
    assert.ok(seen.length > 8);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    );
    assert.ok(seen[0]! > 0 && seen[0]! < 0.1);
    assert.ok(Math.abs(seen.at(-2)! - 1) < 1e-9, "the work adds up to the whole");
    assert.equal(seen.at(-1), 1);
  });

  const refused: [string, number[], RegExp][] = [
    ["an image that is not square", [1, 128, 96, 3], /\[1, side, side, 3\]/],
    ["two images", [2, 128, 128, 3], /\[1, side, side, 3\]/],
    ["an image that is too small for the pyramid", [1, 64, 64, 3], /64 pixels is too small.*128 or more/],
  ];
  for (const [what, shape, message] of refused)
    test(`refuses ${what}`, async () => {
      using wrong = zeros(shape);
      await assert.rejects(
        model.forward(wrong),
        (error) => error instanceof ModelError && message.test(error.message),
      );
    });

  test("gives the same result as one lazy graph", async () => {
    using input = pixels(2);
    const { depth } = lazily(model.stages(input));
    using held = depth;
    assert.ok(relativeError(values(held), values(golden.get("depth_2")!)) < 2e-6);
  });
});

describe("a model with a field-of-view head", () => {
  // Random weights saved by transformers 5.23, and its results for two images.
  const folder = at("test/golden/depth_pro_fov/");
  const golden = loadSafetensors(`${folder}golden.safetensors`).arrays;
  const config = depthProConfig(readConfig(folder, "config.json"), "config.json");

  for (const i of [0, 1])
    test(`gives image ${i} the field of view and the depth that transformers gives`, async () => {
      using model = new DepthPro(config);
      loadWeights(model, openCheckpoint(folder), {
        dtype: "float32",
        rename: depthProKey(config),
      });
      using input = scope(() => transpose(golden.get(`pixels_${i}`)!, [0, 2, 3, 1]));
      const { depth, fov } = await model.forward(input);
      using held = depth;
      const expected = values(golden.get(`fov_${i}`)!)[0]!;
      assert.ok(Math.abs(fov! / expected - 1) < 2e-5, `${fov} ${expected}`);
      const expectedDepth = golden.get(`depth_${i}`);
      if (expectedDepth) assert.ok(relativeError(values(held), values(expectedDepth)) < 2e-6);
    });
});

// ---------------------------------------------------------------- other sizes

/** Unrelated to the bundled model: every option the other way, and encoders that differ. */
const otherConfig = (): DepthProConfig => {
  const encoder = (part: object): object => ({
    model_type: "dinov2",
    layer_norm_eps: 0.01,
    patch_size: 2,
    num_channels: 3,
    ...part,
  });
  return depthProConfig(
    {
      model_type: "depth_pro",
      fusion_hidden_size: 6,
      patch_size: 8,
      intermediate_hook_ids: [0, 2],
      intermediate_feature_dims: [5, 7],
      scaled_images_ratios: [0.25, 0.5, 1],
      scaled_images_overlap_ratios: [0, 0.5, 0.25],
      scaled_images_feature_dims: [9, 8, 4],
      merge_padding_value: 1,
      use_batch_norm_in_fusion_residual: true,
      use_bias_in_fusion_residual: null,
      use_fov_model: true,
      num_fov_head_layers: 1,
      image_model_config: encoder({
        hidden_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        mlp_ratio: 2,
      }),
      patch_model_config: encoder({
        hidden_size: 20,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        mlp_ratio: 3,
        use_swiglu_ffn: true,
        qkv_bias: false,
      }),
      fov_model_config: encoder({
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        mlp_ratio: 4,
      }),
    },
    "config.json",
  );
};

function randomModel(config: DepthProConfig): DepthPro {
  const model = new DepthPro(config);
  using key = random.key(7);
  randomize(model, key, 0.25);
  for (const [, module] of model.modules())
    for (const [name, held] of module.ownParameters())
      if (name === "runningVar") {
        const positive = scope(() => square(held));
        evaluateSync(positive);
        module.replace(name, positive);
      }
  // The depth must not end in the flat part of its ReLU.
  model.head.layers[4].replace("bias", array([3]));
  return model;
}

describe("a model of other sizes", () => {
  test("equals plain loops in depth and field of view", async () => {
    const config = otherConfig();
    using model = randomModel(config);
    const side = 40;
    const pixels: Grid = {
      data: Float64Array.from(noise(side * side * 3)),
      height: side,
      width: side,
      channels: 3,
    };
    const expected = new PlainDepthPro(model, config).forward(pixels);
    using input = toArray(pixels);
    const { depth, fov } = await model.forward(input, { workingSet: 400_000 });
    using held = depth;
    assert.deepEqual(held.shape, [1, expected.depth.height, expected.depth.width]);
    const found = values(held);
    const [low, high] = [Math.min(...expected.depth.data), Math.max(...expected.depth.data)];
    assert.ok(high - low > 0.5, `the depth varies: ${low} to ${high}`);
    const error = relativeError(found, expected.depth.data);
    assert.ok(error < 5e-6, `relative error ${error}`);
    assert.ok(Math.abs(expected.fov) > 1e-3);
    assert.ok(
      Math.abs(fov! - expected.fov) < 1e-5 * Math.max(1, Math.abs(expected.fov)),
      `${fov} ${expected.fov}`,
    );
  });
});
