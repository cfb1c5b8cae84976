import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { ModelError } from "../../../src/errors.js";
import { depthAnythingConfig } from "../../../src/models/depth-anything/config.js";
import { at } from "../../support/tensors.js";

const real = {
  model_type: "depth_anything",
  backbone_config: {
    model_type: "dinov2",
    hidden_size: 384,
    image_size: 518,
    num_attention_heads: 6,
    out_indices: [3, 6, 9, 12],
  },
};

describe("depthAnythingConfig", () => {
  test("gives missing values the defaults of transformers", () => {
    const config = depthAnythingConfig(real, "config.json");
    assert.deepEqual(config.neckHiddenSizes, [48, 96, 192, 384]);
    assert.deepEqual(config.reassembleFactors, [4, 2, 1, 0.5]);
    assert.deepEqual([config.fusionHiddenSize, config.headHiddenSize, config.patchSize], [64, 32, 14]);
    assert.deepEqual([config.depthEstimationType, config.maxDepth], ["relative", 1]);
    assert.equal(config.backboneConfig.numHiddenLayers, 12);
    assert.equal(config.backboneConfig.imageSize, 518);
  });

  test("reads the sizes of a small model", () => {
    const text = readFileSync(at("test/golden/depth_anything/config.json"), "utf8");
    const config = depthAnythingConfig(JSON.parse(text), "config.json");
    assert.deepEqual(config.outIndices, [2, 3, 4, 5]);
    assert.equal(config.backboneConfig.imageSize, 126);
  });

  const backbone = (change: object): object => ({
    backbone_config: { ...real.backbone_config, ...change },
  });
  const refused: [string, object, RegExp][] = [
    ["another model", { model_type: "depth_pro" }, /"depth_pro".*expected Depth Anything/],
    ["a config without an encoder", { backbone_config: null }, /has no backbone_config/],
    ["another encoder", backbone({ model_type: "swinv2" }), /"model_type" is "swinv2"/],
    ["taps before the last norm", backbone({ apply_layernorm: false }), /"apply_layernorm" is false/],
    ["taps beyond the blocks", backbone({ out_indices: [3, 6, 9, 13] }), /at most 12/],
    ["taps out of order", backbone({ out_indices: [6, 3, 9, 12] }), /rising/],
    ["three taps", backbone({ out_indices: [3, 6, 9] }), /differ in length/],
    ["a map taken from elsewhere", { head_in_index: 2 }, /"head_in_index" is 2/],
    ["a factor that is no ratio of pixels", { reassemble_factors: [4, 1.5, 1, 0.5] }, /reassemble_factors/],
    ["a neck for another encoder", { reassemble_hidden_size: 768 }, /768.*384 channels/],
    ["patches of two sizes", { patch_size: 16 }, /patch_size is 16.*14/],
    ["another kind of depth", { depth_estimation_type: "ordinal" }, /"depth_estimation_type" is "ordinal"/],
    ["a farthest distance of zero", { max_depth: 0 }, /"max_depth" is 0/],
  ];
  for (const [what, change, message] of refused)
    test(`refuses ${what}`, () =>
      assert.throws(
        () => depthAnythingConfig({ ...real, ...change }, "some/config.json"),
        (error: Error) =>
          error instanceof ModelError &&
          error.message.startsWith("some/config.json: ") &&
          message.test(error.message),
      ));
});
