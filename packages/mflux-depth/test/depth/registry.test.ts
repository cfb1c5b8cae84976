import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openDepthAnything } from "../../src/depth/depth-anything.js";
import { openDepthPro } from "../../src/depth/depth-pro.js";
import { openerOf } from "../../src/depth/registry.js";
import { ModelError } from "../../src/errors.js";

describe("openerOf", () => {
  test("finds Depth Pro by its model_type", async () =>
    assert.equal(await openerOf("depth_pro", "config.json"), openDepthPro));

  test("finds Depth Anything by its model_type", async () =>
    assert.equal(await openerOf("depth_anything", "config.json"), openDepthAnything));

  test("lists the known estimators for an unknown type", async () => {
    await assert.rejects(
      openerOf("dpt", "some/config.json"),
      (error: Error) =>
        error instanceof ModelError &&
        error.source === "some/config.json" &&
        /"model_type" is "dpt"; known depth estimators: "depth_pro" \(Depth Pro\)/.test(error.message),
    );
  });

  test("says that a config without a model_type belongs to another kind of model", async () => {
    await assert.rejects(
      openerOf(undefined, "config.json"),
      /the config has no model_type, so it belongs to another kind of model/,
    );
  });
});
