import assert from "node:assert/strict";
import { cpSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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
  /** A copy of the bundled repository without its weights. */
  const copy = (): void => {
    cpSync(bundled, folder, {
      recursive: true,
      filter: (path) => !/\.safetensors$|depth_pro|tokenizer\.json$/.test(path),
    });
  };
  const changeTransformer = (changes: object): string => {
    const path = join("transformer", "config.json");
    writeJson(path, { ...readConfig(bundled, path), ...changes });
    return join(folder, path);
  };

  test("accepts FLUX.1 Depth, through links too", () => {
    copy();
    assert.equal(familyOf(folder).id, "flux1-depth");
    symlinkSync(folder, `${folder}-link`);
    familyOf(`${folder}-link`);
  });

  test("knows Canny by its model card, or the name of its folder", () => {
    copy();
    const card = join(folder, "README.md");
    writeFileSync(card, "# FLUX.1 Canny [dev]\n\nIts sister is FLUX.1 Depth.\n");
    refused(() => familyOf(folder), card, /FLUX\.1 Canny, which takes edges/);
    writeFileSync(card, "---\ntags: flux\n---\n`FLUX.1 Depth [dev]`, unlike FLUX.1 Canny, takes depth.\n");
    familyOf(folder);
    const named = join(folder, "flux.1-canny-dev");
    symlinkSync(folder, named);
    refused(() => familyOf(named), named, /FLUX\.1 Canny/);
  });

  test("says which model it is instead", () => {
    copy();
    let path = changeTransformer({ in_channels: 64 });
    refused(() => familyOf(folder), path, /FLUX\.1 dev or schnell.*in_channels 128, not 64/);
    path = changeTransformer({ in_channels: 384 });
    refused(() => familyOf(folder), path, /FLUX\.1 Fill/);
    changeTransformer({ in_channels: 5 });
    refused(() => familyOf(folder), path, /in_channels is 5/);
    changeTransformer({ _class_name: "SD3Transformer2DModel" });
    refused(() => familyOf(folder), path, /SD3Transformer2DModel/);
    writeJson("model_index.json", { _class_name: "StableDiffusionPipeline" });
    refused(() => familyOf(folder), folder, /StableDiffusionPipeline, not for FLUX\.1/);
    refused(() => familyOf(join(bundled, "depth_pro")), join(bundled, "depth_pro"), /Depth Pro.*depthModel/);
    refused(() => familyOf(join(bundled, "vae")), join(bundled, "vae"), /one component \(AutoencoderKL\)/);
  });

  test("lists what is missing", () => {
    refused(
      () => familyOf(folder),
      folder,
      /expected model_index\.json and the folders scheduler, text_encoder/,
    );
    copy();
    rmSync(join(folder, "text_encoder_2"), { recursive: true });
    rmSync(join(folder, "vae"), { recursive: true });
    refused(() => familyOf(folder), folder, /missing folders: text_encoder_2, vae;/);
  });
});
