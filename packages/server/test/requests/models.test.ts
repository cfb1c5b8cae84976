import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AllowedModels } from "../../src/requests/models.js";

describe("the models that requests may name", () => {
  test("are the bundled ones, those allowed, and the default", () => {
    const models = new AllowedModels({ model: "owner/flux" }, [{ name: "mine", folder: "/srv/mine" }]);
    assert.deepEqual(
      models.all.map(({ name }) => name),
      ["tiny-world", "tiny-depth-anything", "mine", "owner/flux"],
    );
    assert.equal(models.defaultModel, "owner/flux");
    assert.equal(models.sourceOf("mine", "load.model"), "/srv/mine");
    assert.equal(models.sourceOf("owner/flux", "load.model"), "owner/flux");
  });

  test("have folders of the server's own settings under the last part of their names only", () => {
    const models = new AllowedModels({ model: "/srv/secret/flux", depthModel: "./depth-pro" }, []);
    assert.equal(models.defaultModel, "flux");
    assert.equal(models.defaultDepthModel, "depth-pro");
    assert.equal(models.sourceOf("flux", "load.model"), "/srv/secret/flux");
    for (const name of ["/srv/secret/flux", "./depth-pro", "../flux", "secret/flux", "__proto__"])
      assert.throws(() => models.sourceOf(name, "load.model"), {
        code: "model_not_found",
        param: "load.model",
      });
  });
});
