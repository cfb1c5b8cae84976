import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ones, saveSafetensors } from "@mflux-depth/mlx";
import { FluxDepth, type LoadOptions, type SavedModel, saveModel } from "../../../src/index.js";
import { adapterFile, expected, goldenOutput, openWithLoras, outputWith } from "../../support/adapters.js";
import { folderPerTest } from "../../support/folders.js";
import { modelError } from "../../support/hub-fixture.js";
import { relativeError } from "../../support/tensors.js";
import { digest, smallRequest } from "../../support/tiny-world.js";

const folder = folderPerTest("mflux-depth-save-loras");

type Given = NonNullable<LoadOptions["loras"]>;

/** Saves the bundled model with LoRAs. */
const save = (loras: Given, options: LoadOptions = {}): Promise<SavedModel> =>
  saveModel({
    ...{ model: "tiny-world", quantize: "none", dtype: "float32", bakeLora: true, loras },
    ...options,
    path: join(folder(), "saved"),
  });

/** The output of the transformer of a saved model. */
const outputOf = async (saved: SavedModel): Promise<Float32Array> =>
  goldenOutput(await openWithLoras([], { model: saved.path }));

describe("a model saved with LoRAs gives what diffusers computes with merged weights", () => {
  const cases: readonly (readonly [golden: string, loras: Given])[] = [
    ["style", [adapterFile("kohya")]],
    [
      "two",
      [
        { source: adapterFile("diffusers"), scale: 0.6 },
        { source: adapterFile("second"), scale: -0.4 },
      ],
    ],
    ["lokr-0.7", [{ source: adapterFile("lokr"), scale: 0.7 }]],
    ["loha", [adapterFile("loha")]],
    ["dora", [adapterFile("dora")]],
    ["dora-peft", [adapterFile("dora-peft")]],
    ["outer", [adapterFile("outer-kohya")]],
  ];
  for (const [golden, loras] of cases)
    test(golden, async () => {
      const error = relativeError(await outputOf(await save(loras)), expected(golden));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  test("quantized once, with the change", async () => {
    const loras = [adapterFile("diffusers")];
    const saved = await outputOf(await save(loras, { quantize: 4 }));
    const error = relativeError(saved, await outputWith(loras, { quantize: 4, bakeLora: true }));
    // Loading holds the unmerged weights in bfloat16.
    assert.ok(error < 1e-2, `relative error ${error}`);
  });

  test("and names them", async () => {
    const { path } = await save([{ source: adapterFile("diffusers"), scale: 0.5 }]);
    const { loras } = JSON.parse(readFileSync(join(path, "mflux-depth.json"), "utf8"));
    assert.equal(loras.length, 1);
    assert.deepEqual([loras[0].name, loras[0].scale], ["diffusers.safetensors", 0.5]);
    assert.match(loras[0].sha256, /^[0-9a-f]{64}$/);
  });
});

describe("a model saved with LoRAs in separate files", () => {
  const separate = (loras: Given, options: LoadOptions = {}): Promise<SavedModel> =>
    save(loras, { bakeLora: false, ...options });

  test("has their effect when it is loaded, at the scales that they were saved with", async () => {
    const loras = [
      { source: adapterFile("diffusers"), scale: 0.6 },
      { source: adapterFile("second"), scale: -0.4 },
    ];
    const error = relativeError(await outputOf(await separate(loras)), expected("two"));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("takes more LoRAs, behind its own", async () => {
    const { path } = await separate([{ source: adapterFile("diffusers"), scale: 0.6 }]);
    const more = [{ source: adapterFile("second"), scale: -0.4 }];
    const found = await goldenOutput(await openWithLoras(more, { model: path }));
    const error = relativeError(found, expected("two"));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });

  test("keeps their scales adjustable, even with quantized weights", async () => {
    const { path } = await separate([adapterFile("diffusers")], { quantize: 4 });
    using flux = await FluxDepth.load({ model: path });
    assert.deepEqual(
      flux.loras.map(({ name, scale }) => [name, scale]),
      [["diffusers.safetensors", 1]],
    );
    using plain = await FluxDepth.load({ model: "tiny-world", quantize: 4 });
    const off = await flux.generate({ ...smallRequest, loraScales: [0] });
    assert.equal(digest(off), digest(await plain.generate(smallRequest)));
  });

  test("includes the file with the strengths of PEFT's LoRAs", async () => {
    const peft = join(folder(), "peft");
    mkdirSync(peft);
    copyFileSync(adapterFile("diffusers"), join(peft, "adapter_model.safetensors"));
    writeFileSync(join(peft, "adapter_config.json"), JSON.stringify({ r: 4, lora_alpha: 2 }));
    const found = await outputOf(await separate([peft]));
    assert.ok(relativeError(found, await outputWith([peft])) < 1e-6);
    assert.ok(relativeError(found, await outputWith([adapterFile("diffusers")])) > 1e-3);
  });

  test("can be moved, and saved again", async () => {
    const { path } = await separate([adapterFile("diffusers")]);
    renameSync(path, `${path}-moved`);
    const again = await saveModel({
      ...{ model: `${path}-moved`, quantize: "none", dtype: "float32" },
      path: join(folder(), "again"),
    });
    rmSync(`${path}-moved`, { recursive: true });
    const error = relativeError(await outputOf(again), await outputWith([adapterFile("diffusers")]));
    assert.ok(error < 2e-5, `relative error ${error}`);
  });
});

describe("saving refuses LoRAs", () => {
  test("for weights that are stored quantized", async () => {
    const { path: model } = await save([], { quantize: 8 });
    await assert.rejects(
      saveModel({ model, loras: [adapterFile("diffusers")], bakeLora: true, path: join(folder(), "again") }),
      modelError(/is stored quantized, so a LoRA cannot be merged into it; save the original model/),
    );
  });

  test("that give a layer a bias for which the model has no place", async () => {
    const path = join(folder(), "bias.safetensors");
    const name = "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q";
    await saveSafetensors(path, new Map([[`${name}.diff_b`, ones([128])]]));
    await assert.rejects(save([path]), modelError(/SelfAttention\.q has no bias, which a LoRA changes/));
  });
});
