import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type MxArray, saveSafetensors } from "@mflux-depth/mlx";
import { ModelError } from "../../src/errors.js";
import { componentNames } from "../../src/families/family.js";
import { type LoadOptions, saveModel } from "../../src/index.js";
import { resolveLoadOptions } from "../../src/options/index.js";
import { inspect } from "../../src/pipeline/inspect.js";
import { Loras } from "../../src/pipeline/model/loras.js";
import { findModel } from "../../src/pipeline/model/model.js";
import { adapterFile, rewritten } from "../support/adapters.js";
import { oneFile } from "../support/one-file.js";
import { complete, listFamilies, own, rearranged, writeRearranged } from "../support/rearranged-family.js";
import { failsWith } from "../support/refusals.js";

const scratch = mkdtempSync(join(tmpdir(), "recognition-"));
after(() => rmSync(scratch, { recursive: true }));
const folder = join(scratch, "model");
/** The model as mflux would save it. */
const withoutConfigs = join(scratch, "without-configs");
const denoiserFile = join(scratch, "denoiser.safetensors");
let lora = "";
let controlLora = "";

before(async () => {
  writeRearranged(folder);
  const options = resolveLoadOptions({ model: oneFile("bfl.safetensors"), componentsFrom: "tiny-world" });
  const { files } = await findModel(options);
  const tensors = new Map<string, MxArray>();
  for (const [name, tensor] of files.denoiser!.open().tensors()) tensors.set(`${own}.${name}`, tensor);
  await saveSafetensors(denoiserFile, tensors);
  for (const tensor of tensors.values()) tensor.dispose();
  const renamed = (key: string, tensor: MxArray) => [[`${own}.${key}`, tensor]] as const;
  lora = await rewritten("diffusers", scratch, renamed);
  controlLora = await rewritten("diffusers", scratch, renamed, new Map([["control", own]]));
});

/** The family of a model. */
const familyOf = async (options: LoadOptions): Promise<string> =>
  (await findModel(resolveLoadOptions(options))).files.family.id;

async function saveWithoutConfigs(): Promise<void> {
  await saveModel({ model: folder, quantize: 4, path: withoutConfigs });
  for (const name of componentNames(rearranged)) rmSync(join(withoutConfigs, name, "config.json"));
}

describe("the second family in the list recognises", () => {
  listFamilies((known) => [...known, complete(folder)]);

  test("its model in a folder", async () => {
    assert.equal(await familyOf({ model: folder }), "rearranged");
    const found = await inspect(folder);
    assert.equal(found.kind === "model" && found.family, "Rearranged");
  });

  test("its model that mflux saved without configs", async () => {
    await saveWithoutConfigs();
    const { files } = await findModel(resolveLoadOptions({ model: withoutConfigs }));
    assert.deepEqual([files.family.id, files.configs], ["rearranged", folder]);
  });

  test("its denoiser in one file", async () => {
    const options = { componentsFrom: folder };
    assert.equal(await familyOf({ model: denoiserFile, ...options }), "rearranged");
    const found = await inspect(denoiserFile, options);
    assert.ok(found.kind === "checkpoint");
    const { family, component, summary, fit } = found;
    assert.deepEqual([family, component, summary], ["Rearranged", "denoiser", [["layers", "1"]]]);
    assert.ok(fit?.fits);
  });

  test("a LoRA", async () => {
    const found = await inspect(lora);
    assert.ok(found.kind === "adapter");
    const { model, components } = found;
    assert.deepEqual([model, components.map(({ name }) => name)], ["Rearranged", ["denoiser"]]);
  });

  test("a LoRA that adds depth control to its base model, in a folder or in one file", async () => {
    const found = await inspect(controlLora);
    assert.ok(found.kind === "adapter");
    const { model, isControl, writtenBy } = found;
    assert.deepEqual([model, isControl, writtenBy], ["Rearranged Base", true, ["Rearranged Labs"]]);
    const loras = [controlLora];
    const { files } = await findModel(resolveLoadOptions({ model: folder, loras }));
    assert.deepEqual([files.family.id, files.denoiser?.config.in_channels], ["rearranged", 256]);
    await failsWith(
      () => familyOf({ model: denoiserFile, componentsFrom: folder, loras }),
      ModelError,
      /this model takes a depth map itself/,
    );
  });

  test("nothing of the first family's", async () => {
    assert.equal(await familyOf({ model: "tiny-world" }), "flux1-depth");
    const file = { model: oneFile("bfl.safetensors"), componentsFrom: "tiny-world" };
    assert.equal(await familyOf(file), "flux1-depth");
    const found = await inspect(adapterFile("diffusers"));
    assert.equal(found.kind === "adapter" && found.model, "FLUX.1 Depth");
  });
});

describe("a family without files of its own, control LoRA or config from shapes", () => {
  listFamilies((known) => [{ ...rearranged, publishedConfigs: folder }, ...known]);

  test("recognises its models", async () => assert.equal(await familyOf({ model: folder }), "rearranged"));

  test("leaves networks in one file and control LoRAs to later families", async () => {
    const file = { model: oneFile("bfl.safetensors"), componentsFrom: "tiny-world" };
    assert.equal(await familyOf(file), "flux1-depth");
    const found = await inspect(adapterFile("control-lora"));
    assert.equal(found.kind === "adapter" && found.isControl, true);
  });

  test("refuses a network in one file", async () => {
    await failsWith(
      () => familyOf({ model: denoiserFile, componentsFrom: folder }),
      ModelError,
      /Rearranged is not read from one file/,
    );
  });

  test("takes LoRAs for style", async () => {
    const options = resolveLoadOptions({ model: folder, loras: [lora] });
    const { files } = await findModel(options);
    const { states } = await Loras.open(files, options);
    assert.deepEqual(
      states.map(({ role }) => role),
      ["style"],
    );
  });

  test("recognises a model that mflux saved without configs if it is given configs", async () => {
    rmSync(withoutConfigs, { recursive: true, force: true });
    await saveWithoutConfigs();
    await failsWith(
      () => familyOf({ model: withoutConfigs }),
      ModelError,
      /saved it without configs, which its shapes do not replace/,
    );
    assert.equal(await familyOf({ model: withoutConfigs, configFrom: folder }), "rearranged");
  });
});
