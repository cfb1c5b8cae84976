import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { before, describe, test } from "node:test";
import { ModelError, OptionError, OutputError } from "../../../src/errors.js";
import { componentNames } from "../../../src/families/flux1-depth/layout.js";
import { readConfig } from "../../../src/files/json.js";
import { FluxDepth, type SaveProgress, saveModel } from "../../../src/index.js";
import type { Bits } from "../../../src/options/index.js";
import { openCheckpoint } from "../../../src/weights/checkpoint.js";
import { failsWith } from "../../support/refusals.js";
import {
  contentsOf,
  goldenComponents,
  goldenFolder,
  gradientRequest,
  parametersOf,
  savedModels,
  wholeModels,
  withoutWholeModels,
} from "../../support/saved-models.js";
import { at } from "../../support/tensors.js";
import { bundled } from "../../support/tiny-world.js";

const { source, savedByMflux, newFolder } = savedModels();

/** The path of a new folder that exists. */
function emptyFolder(): string {
  const folder = newFolder();
  mkdirSync(folder);
  return folder;
}

describe("saveModel", () => {
  test("writes what mflux writes, key by key and bit by bit", async () => {
    const folder = newFolder();
    const saved = await saveModel({ model: source, quantize: 4, path: folder });
    assert.deepEqual({ ...saved, bytes: 0 }, { path: folder, bytes: 0, quantize: 4, notes: [] });
    for (const name of goldenComponents)
      assert.deepEqual(contentsOf(join(folder, name)), contentsOf(join(goldenFolder, "q4", name)), name);
  });

  test("writes the same from what mflux saved", async () => {
    const [fromSource, fromSaved] = [newFolder(), newFolder()];
    await saveModel({ model: source, quantize: 4, path: fromSource });
    await saveModel({ model: savedByMflux, configFrom: source, path: fromSaved });
    for (const name of componentNames)
      assert.deepEqual(contentsOf(join(fromSaved, name)), contentsOf(join(fromSource, name)), name);
  });

  test("writes whole models as mflux does at 3, 4 and 8 bits", { skip: withoutWholeModels }, async () => {
    for (const bits of [3, 4, 8] as const) {
      const folder = newFolder();
      await saveModel({ model: join(wholeModels, "source"), quantize: bits, path: folder });
      for (const name of componentNames)
        assert.deepEqual(
          contentsOf(join(folder, name)),
          contentsOf(join(wholeModels, `q${bits}`, name)),
          `${name} at ${bits} bits`,
        );
    }
  });

  for (const bits of [3, 4, 5, 6, 8, "none"] as const)
    test(`saves a folder that needs nothing else and loads to the same weights: bits ${bits}`, async () => {
      const folder = newFolder();
      await saveModel({ model: source, quantize: bits, path: folder });
      for (const name of componentNames)
        assert.deepEqual(
          await parametersOf({ model: folder, quantize: "none" }, name),
          await parametersOf({ model: source, quantize: bits }, name),
          name,
        );
      rmSync(folder, { recursive: true });
    });

  test("keeps the stored bits, with a note", async () => {
    const saved = await saveModel({
      model: savedByMflux,
      configFrom: source,
      quantize: 8,
      path: newFolder(),
    });
    assert.equal(saved.quantize, 4);
    assert.deepEqual(saved.notes, ["quantize 8 has no effect: the weights are stored with 4 bits."]);
  });

  test("writes the dtype that is requested", async () => {
    const folder = newFolder();
    await saveModel({ model: source, quantize: "none", dtype: "float32", path: folder });
    const { entries, metadata } = openCheckpoint(join(folder, "transformer"));
    assert.deepEqual([...new Set([...entries.values()].map(({ dtype }) => dtype))], ["F32"]);
    assert.equal(metadata.get("quantization_level"), "None");
  });

  test("reports its progress up to the last byte", async () => {
    const events: SaveProgress[] = [];
    const { bytes } = await saveModel({
      model: source,
      path: newFolder(),
      onProgress: (event) => event.state === "write" && events.push(event),
    });
    assert.deepEqual([...new Set(events.map(({ component }) => component))], componentNames);
    assert.ok(
      events.every((event, i) => event.totalBytes === bytes && event.bytes >= (events[i - 1]?.bytes ?? 0)),
    );
    assert.equal(events.at(-1)!.bytes, bytes);
  });

  test("finds out that a model does not fit its config before it writes anything", async () => {
    const broken = newFolder();
    cpSync(source, broken, { recursive: true });
    const config = join(broken, "vae", "config.json");
    writeFileSync(
      config,
      readFileSync(config, "utf8").replace('"layers_per_block": 1', '"layers_per_block": 2'),
    );
    const parent = emptyFolder();
    await failsWith(() => saveModel({ model: broken, path: join(parent, "x") }), ModelError, /is missing/);
    assert.deepEqual(readdirSync(parent), []);
  });

  test("leaves nothing when it is aborted, and rejects with the reason", async () => {
    const parent = emptyFolder();
    const controller = new AbortController();
    const reason = new Error("enough");
    await assert.rejects(
      saveModel({
        model: source,
        path: join(parent, "x"),
        signal: controller.signal,
        onProgress: () => controller.abort(reason),
      }),
      (error) => error === reason,
    );
    assert.deepEqual(readdirSync(parent), []);
  });

  test("fills an empty folder", async () => {
    const folder = emptyFolder();
    await saveModel({ model: source, path: folder });
    assert.ok(readdirSync(folder).includes("model_index.json"));
  });
});

describe("saveModel refuses", () => {
  test("a folder that is not empty, and leaves it alone", async () => {
    const folder = emptyFolder();
    writeFileSync(join(folder, "mine"), "");
    await failsWith(() => saveModel({ model: source, path: folder }), OutputError, /not empty/);
    assert.deepEqual(readdirSync(folder), ["mine"]);
  });

  test("an empty path", () => assert.rejects(saveModel({ model: source, path: " " }), OptionError));

  test("bits that do not exist", () =>
    assert.rejects(saveModel({ model: source, path: newFolder(), quantize: 7 as Bits }), OptionError));

  test("an option that saving does not have", () =>
    assert.rejects(saveModel({ model: source, path: newFolder(), steps: 3 } as never), /no option steps/));
});

describe("a saved model", () => {
  let folder: string;
  before(async () => {
    folder = newFolder();
    await saveModel({ model: "tiny-world", quantize: 4, path: folder });
    // As if the model had come from the Hub.
    const origin = join(folder, "mflux-depth.json");
    writeFileSync(origin, readFileSync(origin, "utf8").replace('"revision": null', '"revision": "abc"'));
  });

  const photo = { data: new Uint8Array(64 * 64 * 3).fill(90), width: 64, height: 64, channels: 3 };
  for (const [kind, input] of [
    ["a depth map", {}],
    ["a photo", { depthImage: null, image: photo }],
  ] as const)
    test(`makes the same image as the original, from ${kind}`, async () => {
      using saved = await FluxDepth.load({ model: folder });
      using direct = await FluxDepth.load({ model: "tiny-world", quantize: 4 });
      const [a, b] = [
        await saved.generate({ ...gradientRequest, ...input }),
        await direct.generate({ ...gradientRequest, ...input }),
      ];
      assert.deepEqual([a.image, a.latents], [b.image, b.latents]);
    });

  test("tells images the revision of the original", async () => {
    using saved = await FluxDepth.load({ model: folder });
    const { metadata } = await saved.generate(gradientRequest);
    assert.equal(metadata.revision, "abc");
  });

  test("keeps its origin when it is saved again", async () => {
    const again = newFolder();
    await saveModel({ model: folder, path: again });
    const { model, revision, quantize } = readConfig(again, "mflux-depth.json");
    assert.deepEqual([model, revision, quantize], ["tiny-world", "abc", 4]);
  });
});

describe("a save whose process is killed", () => {
  let parent: string;
  let target: string;
  let partial: string;
  before(() => {
    parent = emptyFolder();
    target = join(parent, "model");
    const child = at("dist/test/support/saved-child.js");
    const { signal } = spawnSync(process.execPath, [child, "die", target]);
    assert.equal(signal, "SIGKILL");
    const found = readdirSync(parent);
    assert.equal(found.length, 1);
    partial = join(parent, found[0]!);
  });

  test("leaves a partial folder under another name", () => {
    assert.match(basename(partial), /^\.mflux-depth-.*\.partial$/);
  });

  test("leaves nothing that loads", async () => {
    await assert.rejects(FluxDepth.load({ model: target }), ModelError);
    await assert.rejects(FluxDepth.load({ model: partial }), ModelError);
    await assert.rejects(FluxDepth.load({ model: partial, configFrom: bundled }), ModelError);
  });

  test("is cleaned up by the next save", async () => {
    await saveModel({ model: "tiny-world", path: target });
    assert.deepEqual(readdirSync(parent), ["model"]);
    assert.ok((await parametersOf({ model: target }, "transformer")).size > 0);
  });
});
