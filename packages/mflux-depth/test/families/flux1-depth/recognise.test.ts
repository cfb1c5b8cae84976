import assert from "node:assert/strict";
import { cpSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { ModelError } from "../../../src/errors.js";
import { familyOf } from "../../../src/families/registry.js";
import { readConfig } from "../../../src/files/json.js";
import { resolveRepository } from "../../../src/hub/repository.js";
import { folderPerTest, writeJson } from "../../support/folders.js";
import { refused } from "../../support/refusals.js";

const { folder: bundled } = resolveRepository("tiny-world");
const current = folderPerTest("recognise");
let folder = "";
beforeEach(() => {
  folder = current();
});

/** Copies the bundled model without its weights into the folder of the test. */
const copyBundled = (): void =>
  cpSync(bundled, folder, {
    recursive: true,
    filter: (path) => !/\.safetensors$|depth_pro|tokenizer\.json$/.test(path),
  });

describe("familyOf recognises", () => {
  beforeEach(copyBundled);

  test("FLUX.1 Depth", () => assert.equal(familyOf(folder).id, "flux1-depth"));

  test("FLUX.1 Depth through a link", () => {
    symlinkSync(folder, `${folder}-link`);
    assert.equal(familyOf(`${folder}-link`).id, "flux1-depth");
  });

  test("FLUX.1 Depth by a model card that mentions FLUX.1 Canny later", () => {
    writeFileSync(
      join(folder, "README.md"),
      "---\ntags: flux\n---\n`FLUX.1 Depth [dev]`, unlike FLUX.1 Canny, takes depth.\n",
    );
    assert.equal(familyOf(folder).id, "flux1-depth");
  });
});

describe("familyOf refuses FLUX.1 Canny", () => {
  beforeEach(copyBundled);

  test("by its model card", () => {
    const card = join(folder, "README.md");
    writeFileSync(card, "# FLUX.1 Canny [dev]\n\nIts sister is FLUX.1 Depth.\n");
    refused(() => familyOf(folder), card, /FLUX\.1 Canny, which takes an edge map/);
  });

  test("by the name of its folder", () => {
    const named = join(folder, "flux.1-canny-dev");
    symlinkSync(folder, named);
    refused(() => familyOf(named), named, /FLUX\.1 Canny/);
  });
});

describe("familyOf refuses, by the transformer's config,", () => {
  for (const [what, changes, message] of [
    ["FLUX.1 dev", { in_channels: 64 }, /FLUX\.1 dev or schnell.*in_channels 128, not 64/],
    ["FLUX.1 Fill", { in_channels: 384 }, /FLUX\.1 Fill/],
    ["an unknown number of channels", { in_channels: 5 }, /in_channels is 5/],
    ["another transformer", { _class_name: "SD3Transformer2DModel" }, /SD3Transformer2DModel/],
    [
      "a class that is not a name",
      { _class_name: { a: 1 } },
      /the transformer is a \{"a":1\}; FLUX\.1 Depth has/,
    ],
  ] as const)
    test(what, () => {
      copyBundled();
      const file = join("transformer", "config.json");
      writeJson(join(folder, file), { ...readConfig(bundled, file), ...changes });
      refused(() => familyOf(folder), join(folder, file), message);
    });
});

describe("familyOf refuses", () => {
  test("another pipeline", () => {
    copyBundled();
    writeJson(join(folder, "model_index.json"), { _class_name: "StableDiffusionPipeline" });
    refused(() => familyOf(folder), folder, /StableDiffusionPipeline, not for FLUX\.1/);
  });

  test("a depth estimator, naming the option for it", () => {
    const estimator = join(bundled, "depth_pro");
    refused(() => familyOf(estimator), estimator, /Depth Pro, which estimates depth/);
    assert.throws(
      () => familyOf(estimator),
      (error) => {
        assert.ok(error instanceof ModelError);
        assert.deepEqual(error.details.remedies, [
          { kind: "set-option", option: "depthModel", value: estimator },
        ]);
        return true;
      },
    );
  });

  test("the folder of one component whose kind is not a name", () => {
    writeJson(join(folder, "config.json"), { model_type: { a: 1 }, _class_name: [] });
    refused(() => familyOf(folder), folder, /one component \(of an unknown kind\)/);
  });

  test("the folder of one component", () => {
    const vae = join(bundled, "vae");
    refused(() => familyOf(vae), vae, /one component \(AutoencoderKL\)/);
  });

  test("an empty folder, listing the expected files", () =>
    refused(
      () => familyOf(folder),
      folder,
      /expected model_index\.json and the folders scheduler, text_encoder/,
    ));

  test("a model without some components, naming them", () => {
    copyBundled();
    for (const component of ["text_encoder_2", "vae"]) rmSync(join(folder, component), { recursive: true });
    refused(() => familyOf(folder), folder, /missing folders: text_encoder_2, vae;/);
  });
});
