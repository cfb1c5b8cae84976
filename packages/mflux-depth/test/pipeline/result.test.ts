import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { inspectImage, readPhoto } from "../../src/images/decode.js";
import { readParameters } from "../../src/images/metadata.js";
import { type GenerationResult, OptionError } from "../../src/index.js";
import { folderPerTest } from "../support/folders.js";
import { relativeError } from "../support/tensors.js";
import { loadTinyWorld, smallRequest } from "../support/tiny-world.js";

const currentFolder = folderPerTest("result");

describe("a result", () => {
  let result: GenerationResult;
  before(async () => {
    using flux = await loadTinyWorld();
    result = await flux.generate(smallRequest);
  });
  const inJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

  test("tells the model, the seed and the tokens of the prompt", () => {
    const { model, seed, max_sequence_length } = result.metadata;
    assert.deepEqual([model, seed, max_sequence_length], ["tiny-world", 7, 64]);
  });

  test("saves the image with its parameters", async () => {
    const { exif, width, height } = await inspectImage(await result.save(join(currentFolder(), "image.png")));
    assert.deepEqual([width, height], [32, 48]);
    assert.deepEqual(readParameters(exif), inJson(result.metadata));
  });

  test("saves the parameters in a sidecar if asked to", async () => {
    await result.save(join(currentFolder(), "image.png"), { sidecar: true });
    const sidecar = readFileSync(join(currentFolder(), "image.metadata.json"), "utf8");
    assert.deepEqual(JSON.parse(sidecar), inJson(result.metadata));
  });

  test("saves under another name instead of replacing a file if asked to", async () => {
    const path = join(currentFolder(), "image.png");
    assert.equal(await result.save(path), path);
    assert.equal(await result.save(path, { overwrite: false }), join(currentFolder(), "image_1.png"));
  });

  test("saves under another name instead of replacing another image's sidecar if asked to", async () => {
    const path = join(currentFolder(), "image.png");
    await result.save(path, { sidecar: true });
    const second = await result.save(path.replace("png", "jpg"), { sidecar: true, overwrite: false });
    assert.equal(second, join(currentFolder(), "image_1.jpg"));
    assert.deepEqual(readdirSync(currentFolder()).sort(), [
      ...["image.metadata.json", "image.png"],
      ...["image_1.jpg", "image_1.metadata.json"],
    ]);
  });

  test("refuses an unknown extension", async () => {
    await assert.rejects(result.save(join(currentFolder(), "image.bmp")), OptionError);
  });

  test("refuses an option that does not exist, and a path that is not text", async () => {
    const path = join(currentFolder(), "image.png");
    const unknown = { name: "OptionError", code: "option-unknown" };
    await assert.rejects(result.save(path, { overwrit: true } as object), unknown);
    await assert.rejects(result.saveDepthMap(path, { sidecar: true } as object), unknown);
    await assert.rejects(result.save(5 as unknown as string), {
      name: "OptionError",
      message: "output must be non-blank text, not 5.",
    });
    assert.deepEqual(readdirSync(currentFolder()), []);
  });

  test("saves the depth map that was used", async () => {
    const map = await readPhoto(await result.saveDepthMap(join(currentFolder(), "depth.png")));
    const grey = Float32Array.from({ length: 32 * 48 }, (_, i) => map.data[3 * i]!);
    assert.ok(relativeError(grey, result.depthMap.data) < 1e-4);
  });
});
