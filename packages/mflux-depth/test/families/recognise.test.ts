import assert from "node:assert/strict";
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { familyOf } from "../../src/families/registry.js";
import { readConfig } from "../../src/files/json.js";
import { resolveRepository } from "../../src/hub/repository.js";
import { folderPerTest, writeJson as writeFile } from "../support/folders.js";
import { refused } from "../support/refusals.js";

const current = folderPerTest("recognise");
let folder = "";
beforeEach(() => {
  folder = current();
});

const writeJson = (name: string, value: unknown): void => writeFile(join(folder, name), value);

describe("recognising a model", () => {
  const { folder: bundled } = resolveRepository("tiny-world");
  /** Copies the bundled repository without its weights. */
  const copy = (): void => {
    cpSync(bundled, folder, {
      recursive: true,
      filter: (path) => !/\.safetensors$|depth_pro|tokenizer\.json$/.test(path),
    });
  };
  /** Changes the transformer's config; returns its path. */
  const changeTransformer = (changes: object): string => {
    const path = join("transformer", "config.json");
    writeJson(path, { ...readConfig(bundled, path), ...changes });
    return join(folder, path);
  };

  beforeEach(copy);

  test("accepts FLUX.1 Depth", () => {
    assert.equal(familyOf(folder).id, "flux1-depth");
  });

  test("accepts a link to it", () => {
    symlinkSync(folder, `${folder}-link`);
    assert.equal(familyOf(`${folder}-link`).id, "flux1-depth");
  });

  describe("by its model card", () => {
    let card: string;
    beforeEach(() => {
      card = join(folder, "README.md");
    });

    test("refuses FLUX.1 Canny", () => {
      writeFileSync(card, "# FLUX.1 Canny [dev]\n\nIts sister is FLUX.1 Depth.\n");
      refused(() => familyOf(folder), card, /FLUX\.1 Canny, which takes edges/);
    });

    test("accepts FLUX.1 Depth, even if the card mentions Canny", () => {
      writeFileSync(card, "---\ntags: flux\n---\n`FLUX.1 Depth [dev]`, unlike FLUX.1 Canny, takes depth.\n");
      assert.equal(familyOf(folder).id, "flux1-depth");
    });
  });

  test("refuses a folder named after FLUX.1 Canny", () => {
    const named = join(folder, "flux.1-canny-dev");
    symlinkSync(folder, named);
    refused(() => familyOf(named), named, /FLUX\.1 Canny/);
  });

  for (const [model, change, message] of [
    ["FLUX.1 dev", { in_channels: 64 }, /FLUX\.1 dev or schnell.*in_channels 128, not 64/],
    ["FLUX.1 Fill", { in_channels: 384 }, /FLUX\.1 Fill/],
    ["an unknown number of channels", { in_channels: 5 }, /in_channels is 5/],
    ["another transformer", { _class_name: "SD3Transformer2DModel" }, /SD3Transformer2DModel/],
  ] as const)
    test(`refuses ${model}`, () => {
      const config = changeTransformer(change);
      refused(() => familyOf(folder), config, message);
    });

  test("refuses a pipeline of another model", () => {
    writeJson("model_index.json", { _class_name: "StableDiffusionPipeline" });
    refused(() => familyOf(folder), folder, /StableDiffusionPipeline, not for FLUX\.1/);
  });

  test("refuses a depth estimator, and says where it belongs", () => {
    const estimator = join(bundled, "depth_pro");
    refused(() => familyOf(estimator), estimator, /Depth Pro.*depthModel/);
  });

  test("refuses a single component", () => {
    const vae = join(bundled, "vae");
    refused(() => familyOf(vae), vae, /one component \(AutoencoderKL\)/);
  });

  test("lists missing folders", () => {
    for (const name of ["text_encoder_2", "vae"]) rmSync(join(folder, name), { recursive: true });
    refused(() => familyOf(folder), folder, /missing folders: text_encoder_2, vae;/);
  });

  test("says what it expects in an empty folder", () => {
    const empty = join(folder, "empty");
    mkdirSync(empty);
    refused(
      () => familyOf(empty),
      empty,
      /expected model_index\.json and the folders scheduler, text_encoder/,
    );
  });
});
