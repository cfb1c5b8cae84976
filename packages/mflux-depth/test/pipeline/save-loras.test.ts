import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ones, saveSafetensors } from "@mflux-depth/mlx";
import { type LoadOptions, OptionError, type SavedModel, saveModel } from "../../src/index.js";
import { adapterFile, expected, goldenOutput, openWithLoras, outputWith } from "../support/adapters.js";
import { folderPerTest } from "../support/folders.js";
import { modelError } from "../support/hub-fixture.js";
import { relativeError } from "../support/tensors.js";

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

describe("saving refuses LoRAs", () => {
  test("that it is not told to merge", async () => {
    await assert.rejects(save([adapterFile("diffusers")], { bakeLora: false }), (error) => {
      assert.ok(error instanceof OptionError);
      assert.match(error.message, /Saving merges LoRAs into the weights: set bakeLora/);
      return true;
    });
  });

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
