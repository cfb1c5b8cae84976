import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { estimatorDescriptions } from "../../src/depth/descriptions.js";
import { estimatorIn, estimatorKind, takeBroughtEstimator } from "../../src/depth/repository.js";
import { ModelError } from "../../src/errors.js";
import { FileSelection } from "../../src/weights/file-selection.js";
import { at } from "../support/tensors.js";

const tinyWorld = at("models/tiny-world");

describe("estimatorDescriptions", () => {
  test("have each model_type once", () => {
    const types = estimatorDescriptions.map(({ modelType }) => modelType);
    assert.equal(new Set(types).size, types.length);
  });
});

describe("estimatorIn", () => {
  test("finds the estimator that a model includes", () =>
    assert.equal(estimatorIn(tinyWorld), at("models/tiny-world/depth_pro")));

  test("is null for a model without one", () => assert.equal(estimatorIn(at("models/tiny-world/vae")), null));
});

describe("estimatorKind", () => {
  const root = ["config.json", "preprocessor_config.json", "model.safetensors", "README.md", "model.bin"];

  test("takes config, preprocessor and weights of a repository", () => {
    const { small, missing, weights } = estimatorKind.needed(root, undefined);
    assert.deepEqual([...small].sort(), ["config.json", "preprocessor_config.json"]);
    assert.deepEqual(missing, []);
    assert.deepEqual(weights("anywhere"), ["model.safetensors"]);
  });

  test("takes the estimator's folder of a model that includes one", () => {
    const names = ["model_index.json", "vae/config.json", ...root.map((name) => `depth_pro/${name}`)];
    const { small, weights } = estimatorKind.needed(names, undefined);
    assert.deepEqual([...small].sort(), [
      "depth_pro/config.json",
      "depth_pro/preprocessor_config.json",
      "model_index.json",
    ]);
    assert.deepEqual(weights("anywhere"), ["depth_pro/model.safetensors"]);
  });

  test("reports a missing config and missing weights", () => {
    const { missing } = estimatorKind.needed(["README.md"], undefined);
    assert.deepEqual(missing, ["config.json", "*.safetensors"]);
  });

  test("accepts a known model_type", () =>
    estimatorKind.check!("someone/depth", at("models/tiny-world/depth_pro"), ["config.json"]));

  test("refuses another model_type", () =>
    assert.throws(
      () => estimatorKind.check!("someone/clip", at("models/tiny-world/text_encoder"), ["config.json"]),
      (error) =>
        error instanceof ModelError &&
        /a model of type clip_text_model; expected a depth estimator such as apple\/DepthPro-hf/.test(
          error.message,
        ),
    ));

  test("refuses a diffusion model without an estimator", () =>
    assert.throws(
      () => estimatorKind.check!("someone/flux", tinyWorld, ["model_index.json"]),
      /a repository of a diffusion model; expected a depth estimator/,
    ));
});

describe("takeBroughtEstimator", () => {
  test("takes nothing of a model without one", () => {
    const selection = new FileSelection(["model_index.json", "vae/config.json"], undefined);
    takeBroughtEstimator(selection);
    assert.deepEqual([selection.small, selection.missing], [[], []]);
  });
});
