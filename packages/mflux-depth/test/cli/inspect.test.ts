import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { saveModel } from "../../src/index.js";
import { adapterFile } from "../support/adapters.js";
import { call, type Outcome } from "../support/command-line.js";
import { oneFile } from "../support/one-file.js";
import { bundled } from "../support/tiny-world.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-inspect-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const inspect = (...argv: string[]): Promise<Outcome> => call(["inspect", ...argv]);

const asJson = async (...argv: string[]) => JSON.parse((await inspect(...argv, "--json")).stdout);

describe("inspect", () => {
  test("describes a model, its components and whether it would load here", async () => {
    const { code, stdout } = await inspect("tiny-world");
    assert.equal(code, 0);
    assert.match(stdout, /^family +FLUX\.1 Depth$/m);
    assert.match(stdout, /^layout +diffusers$/m);
    assert.match(stdout, /^memory +[\d.]+ [GM]B of [\d.]+ [GM]B .*\(4 bits, resident\): it fits$/m);
    for (const name of ["text_encoder", "text_encoder_2", "transformer", "vae"])
      assert.match(stdout, new RegExp(`^${name} +[\\d.]+ MB|kB +BF16 +\\d+$`, "m"));
  });

  test("gives sizes in JSON", async () => {
    const found = await asJson(bundled, "-q", "none");
    assert.equal(found.kind, "model");
    assert.equal(found.fit.quantize, null);
    const transformer = found.components.find(({ name }: { name: string }) => name === "transformer");
    assert.deepEqual(transformer.dtypes, { BF16: transformer.bytes });
    assert.equal(transformer.values * 2, transformer.bytes);
    assert.equal(transformer.bits, null);
  });

  test("tells the bits of a saved model", async () => {
    const path = join(folder, "saved");
    await saveModel({ model: "tiny-world", quantize: 8, path });
    const found = await asJson(path);
    assert.equal(found.layout, "mflux");
    assert.ok(found.components.every(({ bits }: { bits: number }) => bits === 8));
    assert.equal(found.fit.quantize, 8);
  });

  test("names the LoRAs that were saved with a model", async () => {
    const path = join(folder, "with-loras");
    const loras = [{ source: adapterFile("diffusers"), scale: 0.5 }];
    await saveModel({ model: "tiny-world", quantize: 4, loras, path });
    const { stdout } = await inspect(path);
    assert.match(stdout, /Loading it uses the LoRAs in its folder: diffusers\.safetensors at 0\.5\./);
  });

  test("says what becomes of the blocks of a GGUF file", async () => {
    const { stdout } = await inspect(oneFile("q4_0.gguf"), "--components-from", "tiny-world");
    assert.match(stdout, /Note: The Q4_0 blocks of q4_0\.gguf stay as they are\./);
  });

  test("describes a depth estimator", async () => {
    const found = await asJson(join(bundled, "depth_pro"));
    assert.equal(found.kind, "depth-estimator");
    assert.equal(found.estimator, "Depth Pro");
    assert.match((await inspect(join(bundled, "depth_pro"))).stdout, /^kind +Depth Pro$/m);
  });

  for (const [file, writtenBy, forms, ranks] of [
    ["kohya", "kohya", { "low-rank": 49 }, [4, 4]],
    ["comfy", "ComfyUI, ai-toolkit", { "low-rank": 49 }, [4, 4]],
    ["second", "diffusers, PEFT", { "low-rank": 46 }, [4, 6]],
    ["lokr-lycoris", "LyCORIS, SimpleTuner", { kronecker: 3 }, [2, 2]],
    ["dora", "kohya", { "low-rank": 6, dora: 6 }, [4, 4]],
  ] as const)
    test(`describes a LoRA: ${file}`, async () => {
      const found = await asJson(adapterFile(file), "--model", "tiny-world");
      assert.equal(found.kind, "adapter");
      assert.deepEqual(found.writtenBy, [writtenBy]);
      assert.equal(found.fits, true);
      const [component, ...others] = found.components;
      assert.deepEqual(others, []);
      assert.deepEqual([component.name, component.forms, component.ranks], ["transformer", forms, ranks]);
    });

  test("says what of a LoRA does not fit", async () => {
    const { code, stdout } = await inspect(adapterFile("strict"), "--model", "tiny-world");
    assert.equal(code, 0);
    assert.match(stdout, /^fits +tiny-world, only in part$/m);
    assert.match(stdout, /^Problems: 2 keys belong to no layer of this model.*to_gate/m);
  });

  test("says that the depth LoRA is only for FLUX.1-dev", async () => {
    const found = await asJson(adapterFile("control-lora"), "--model", "tiny-world");
    assert.deepEqual([found.isControl, found.writtenBy, found.fits], [true, ["Black Forest Labs"], false]);
    assert.match(found.problems, /this model takes a depth map itself; the depth LoRA is for FLUX\.1-dev/);
    const { stdout } = await inspect(adapterFile("control-lora"), "--model", "tiny-world");
    assert.match(stdout, /^depth LoRA +control-lora\.safetensors$/m);
    assert.match(stdout, /^fits +not tiny-world$/m);
  });

  test("compares a LoRA with the published model by default", async () => {
    const found = await asJson(adapterFile("text-comfy"));
    assert.equal(found.model, "FLUX.1 Depth");
    assert.equal(found.fits, false);
    assert.match(found.problems, /is \[8, 64\], expected \[8, 768\]/);
  });

  test("describes a transformer in one file", async () => {
    const found = await asJson(oneFile("fp8-scaled.safetensors"), "--components-from", "tiny-world");
    assert.equal(found.kind, "checkpoint");
    assert.equal(found.config.num_single_layers, 2);
    assert.equal(found.fit.fits, true);
    assert.ok(found.dtypes.F8_E4M3 > found.dtypes.BF16);
    const gguf = await asJson(oneFile("q4_0.gguf"), "--components-from", "tiny-world");
    assert.deepEqual(Object.keys(gguf.dtypes).sort(), ["F16", "F32", "Q4_0"]);
    const { stdout } = await inspect(oneFile("bfl.safetensors"), "--components-from", "tiny-world");
    assert.match(stdout, /^blocks +1 double, 2 single$/m);
    assert.match(stdout, /^Note: All other components are those of tiny-world\.$/m);
  });

  test("refuses unknown files", async () => {
    const weights = join(bundled, "vae/diffusion_pytorch_model.safetensors");
    const { code, stderr } = await inspect(weights);
    assert.equal(code, 1);
    assert.match(stderr, /this is not FLUX\.1's transformer/);
    assert.equal((await inspect(join(folder, "missing"))).code, 1);
    assert.equal((await inspect()).code, 2);
  });
});
