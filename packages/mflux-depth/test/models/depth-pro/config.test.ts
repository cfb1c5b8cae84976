import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ModelError } from "../../../src/errors.js";
import { depthProConfig, inputSize } from "../../../src/models/depth-pro/config.js";

describe("depthProConfig", () => {
  test("gives missing values the defaults of transformers", () => {
    const config = depthProConfig({ model_type: "depth_pro" }, "config.json");
    assert.equal(inputSize(config), 1536);
    assert.deepEqual(config.intermediateHookIds, [11, 5]);
    assert.deepEqual(config.scaledImagesFeatureDims, [1024, 1024, 512]);
    assert.equal(config.useBiasInFusionResidual, true);
    assert.equal(config.patchModelConfig.hiddenSize, 768);
    assert.equal(config.patchModelConfig.imageSize, 384);
  });

  const refused: [string, object, RegExp][] = [
    ["another model", { model_type: "dpt" }, /"dpt".*"depth_pro"/],
    [
      "a FLUX transformer",
      { _class_name: "FluxTransformer2DModel", in_channels: 128 },
      /another kind of model/,
    ],
    [
      "another encoder",
      { image_model_config: { model_type: "vit" } },
      /"vit"; the encoder of image_model_config needs "dinov2"/,
    ],
    ["another activation", { patch_model_config: { hidden_act: "relu" } }, /"hidden_act" is "relu"/],
    ["ratios out of order", { scaled_images_ratios: [1, 0.5, 0.25] }, /sorted/],
    ["lists of different lengths", { scaled_images_feature_dims: [4] }, /differ in length/],
    ["hooks without dimensions", { intermediate_feature_dims: [256] }, /differ in length/],
    ["a hook beyond the blocks", { intermediate_hook_ids: [12, 5] }, /12 blocks/],
    ["a size that is not a number", { fusion_hidden_size: "many" }, /"fusion_hidden_size" is "many"/],
    ["heads that do not divide the channels", { fov_model_config: { num_attention_heads: 5 } }, /5 heads/],
  ];
  for (const [what, change, message] of refused)
    test(`refuses ${what}`, () => {
      const json = "_class_name" in change ? change : { model_type: "depth_pro", ...change };
      assert.throws(
        () => depthProConfig(json, "some/config.json"),
        (error: Error) => {
          assert.ok(error instanceof ModelError);
          assert.match(error.message, /^some\/config\.json: /);
          assert.match(error.message, message);
          return true;
        },
      );
    });
});
