import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultEstimator, estimatorOf, estimators } from "../../src/depth/registry.js";
import { ModelError } from "../../src/errors.js";

describe("the registry", () => {
  for (const entry of estimators)
    test(`finds ${entry.name} by its model_type`, () =>
      assert.equal(estimatorOf(entry.modelType, "config.json"), entry));

  test("has each model_type once", () => {
    const types = estimators.map(({ modelType }) => modelType);
    assert.equal(new Set(types).size, types.length);
  });

  test("contains the default", () => assert.ok(estimators.includes(defaultEstimator)));

  test("says what it knows when it does not know a model", () => {
    assert.throws(
      () => estimatorOf("dpt", "some/config.json"),
      (error: Error) =>
        error instanceof ModelError &&
        error.source === "some/config.json" &&
        /"model_type" is "dpt"; known depth models: "depth_pro" \(Depth Pro\)/.test(error.message),
    );
  });
});
