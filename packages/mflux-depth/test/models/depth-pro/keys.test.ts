import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readConfig } from "../../../src/files/json.js";
import { depthProConfig } from "../../../src/models/depth-pro/config.js";
import { depthProKey } from "../../../src/models/depth-pro/keys.js";
import { openCheckpoint } from "../../../src/weights/checkpoint.js";
import { at } from "../../support/tensors.js";

const bundled = at("models/tiny-world/depth_pro");
const config = depthProConfig(readConfig(bundled, "config.json"), "config.json");
const names = [...openCheckpoint(bundled).fileOf.keys()];

describe("depthProKey", () => {
  const key = depthProKey(config);

  test("translates the attention's names of transformers 5", () => {
    const newer = (name: string): string =>
      name
        .replace("attention.attention.query", "attention.q_proj")
        .replace("attention.attention.key", "attention.k_proj")
        .replace("attention.attention.value", "attention.v_proj")
        .replace("attention.output.dense", "attention.o_proj");
    // Two encoders of four layers, with a weight and a bias of four projections each.
    assert.equal(names.filter((name) => newer(name) !== name).length, 2 * 4 * 8);
    assert.deepEqual(names.map(newer).map(key), names.map(key));
  });

  test("leaves out mask tokens and the coarsest level's first residual layer, and nothing else", () => {
    const unused = names.filter((name) => key(name) === null);
    const residual = unused.filter((name) => name.startsWith("fusion_stage.intermediate.0.residual_layer1."));
    assert.ok(residual.length > 0);
    assert.deepEqual(
      unused.filter((name) => !residual.includes(name)),
      [
        "depth_pro.encoder.image_encoder.model.embeddings.mask_token",
        "depth_pro.encoder.patch_encoder.model.embeddings.mask_token",
      ],
    );
  });

  test("leaves out the field-of-view head for a model without it", () => {
    const name = "fov_model.conv.weight";
    assert.equal(key(name), null);
    assert.equal(depthProKey({ ...config, useFovModel: true })(name), name);
  });
});
