import assert from "node:assert/strict";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { identifyModel } from "../../src/families/identify.js";
import { families } from "../../src/families/registry.js";
import { resolveRepository } from "../../src/hub/repository.js";
import { folderPerTest, writeJson } from "../support/folders.js";
import { otherFamily, otherPipeline } from "../support/other-family.js";

const { folder: bundled } = resolveRepository("tiny-world");
const current = folderPerTest("identify");
let folder = "";
beforeEach(() => {
  folder = current();
  cpSync(bundled, folder, { recursive: true });
});

const identify = () => identifyModel(folder, [...families, otherFamily]);

describe("identifyModel", () => {
  test("names the family of a complete model", () =>
    assert.deepEqual(identify(), { state: "whole", family: "flux1-depth" }));

  test("reports an incomplete model of a family", () => {
    rmSync(join(folder, "vae"), { recursive: true });
    assert.deepEqual(identify(), { state: "partial" });
  });

  test("prefers a complete model of a later family to part of an earlier one", () => {
    rmSync(join(folder, "vae"), { recursive: true });
    writeJson(join(folder, "model_index.json"), { _class_name: otherPipeline });
    mkdirSync(join(folder, "other"));
    writeFileSync(join(folder, "other", "config.json"), "{}");
    writeFileSync(join(folder, "other", "model.safetensors"), "");
    assert.deepEqual(identify(), { state: "whole", family: "other" });
  });

  test("reports a model of no family as whole", () => {
    const other = { ...otherFamily, isCandidate: () => false };
    writeJson(join(folder, "transformer", "config.json"), { _class_name: "OtherTransformer" });
    assert.deepEqual(identifyModel(folder, [...families, other]), { state: "whole", family: null });
  });
});
