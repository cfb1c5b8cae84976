import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { defaultDevice, isAvailable } from "@mflux-depth/mlx";
import { obtainEstimator, openEstimator } from "../../src/depth/open.js";
import { ModelError, OptionError } from "../../src/errors.js";
import { at } from "../support/tensors.js";

const tinyWorld = at("models/tiny-world");
const bundled = join(tinyWorld, "depth_pro");

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-open-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const made = (name: string, files: Record<string, string>): string => {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  return path;
};

describe("openEstimator", () => {
  test("takes an estimator's folder", async () => {
    assert.equal((await openEstimator({ depthModel: bundled })).folder, bundled);
  });

  test("takes the estimator inside another model's folder", async () => {
    assert.equal((await openEstimator({ depthModel: tinyWorld })).folder, bundled);
  });

  test("takes the bundled estimator by its name", async () => {
    assert.equal((await openEstimator({ depthModel: "tiny-world" })).folder, bundled);
  });

  test("takes the bundled Depth Anything by its name", async () => {
    const folder = at("models/tiny-depth-anything");
    assert.equal((await openEstimator({ depthModel: "tiny-depth-anything" })).folder, folder);
  });

  test("prefers the estimator of the image model in use to the default", async () => {
    assert.equal((await openEstimator({ modelFolder: tinyWorld })).folder, bundled);
  });

  test("prefers a named estimator to that of the image model in use", async () => {
    const named = at("test/golden/depth_pro_fov");
    assert.equal((await openEstimator({ depthModel: named, modelFolder: tinyWorld })).folder, named);
  });

  const refused: [string, () => string, RegExp][] = [
    ["a folder without a config", () => made("bare", {}), /not a depth estimator: there is no config\.json/],
    [
      "a diffusion model without an estimator",
      () => made("flux", { "model_index.json": "{}" }),
      /diffusion model contains no depth estimator/,
    ],
    [
      "a config without a model_type",
      () => join(tinyWorld, "transformer"),
      /the config has no model_type, so it belongs to another kind of model.*"depth_pro" \(Depth Pro\)/,
    ],
    [
      "an unknown model_type",
      () => join(tinyWorld, "text_encoder"),
      /"model_type" is "clip_text_model"; known depth estimators: "depth_pro" \(Depth Pro\)/,
    ],
    ["a name that is neither a folder nor a repository", () => "no such thing", /there is no such folder/],
  ];
  for (const [what, path, message] of refused)
    test(`refuses ${what}`, async () => {
      await assert.rejects(
        openEstimator({ depthModel: path() }),
        (error: Error) => error instanceof ModelError && message.test(error.message),
      );
    });

  test("advises a known estimator in place of another folder", async () => {
    await assert.rejects(
      openEstimator({ depthModel: made("empty", {}) }),
      (error: Error) =>
        error instanceof ModelError &&
        error.details.remedies?.some(
          (remedy) => remedy.kind === "set-option" && remedy.value === "apple/DepthPro-hf",
        ) === true,
    );
  });

  const other = defaultDevice() === "cpu" ? "gpu" : "cpu";
  const skip = isAvailable(other) && "this machine has both devices";
  test("refuses a device that is not available", { skip }, async () => {
    await assert.rejects(openEstimator({ depthModel: bundled, device: other }), OptionError);
  });
});

describe("obtainEstimator", () => {
  test("opens a local estimator without a download", async () => {
    const estimator = await obtainEstimator({ depthModel: bundled, offline: true });
    assert.equal(estimator.folder, bundled);
  });

  test("uses the estimator of the image model in use", async () => {
    const estimator = await obtainEstimator({ modelFolder: tinyWorld, offline: true });
    assert.equal(estimator.folder, bundled);
  });

  test("refuses to download when offline", () =>
    assert.rejects(obtainEstimator({ depthModel: "nobody/absent", offline: true }), ModelError));

  test("ends with the signal's reason", () =>
    assert.rejects(
      obtainEstimator({ depthModel: bundled, signal: AbortSignal.abort(new Error("enough")) }),
      /^Error: enough$/,
    ));
});
