/* Models that mflux saved, and what is in them: for tests of reading such models and of saving our own. */
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { loadSafetensors, type MxArray } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import { componentNames } from "../../src/families/flux1-depth/layout.js";
import type { FluxNetworks } from "../../src/families/flux1-depth/networks.js";
import { readConfig } from "../../src/files/json.js";
import { type GenerateOptions, type LoadOptions, saveModel } from "../../src/index.js";
import { resolveLoadOptions } from "../../src/options/index.js";
import { findModel, openModel } from "../../src/pipeline/model/model.js";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { at } from "./tensors.js";
import { bundled, gradientMap } from "./tiny-world.js";

/** Small components that mflux saved (`q4`), and the components that they were made from (`source`). */
export const goldenFolder = at("test/golden/mflux-saved");

/** The components that the golden folder has, and the others. */
export const goldenComponents: readonly (keyof FluxNetworks)[] = componentNames.filter(
  (name) => name !== "vae",
);

/** Whole models that mflux saved at 3, 4 and 8 bits, next to this repository: they are too large for it. */
export const wholeModels = at("../../../shared/reference/mflux-saved");

/** The reason to skip a test that needs {@link wholeModels}; false if they exist. */
export const withoutWholeModels = existsSync(wholeModels)
  ? false
  : "the whole models are not on this machine";

export interface SavedModels {
  /** The model that mflux quantized: golden components, completed from the bundled model. */
  readonly source: string;
  /** The model that mflux saved from {@link source} at 4 bits, without configs. Its VAE is saved by us. */
  readonly savedByMflux: string;
  /** The path of a folder that does not exist yet. */
  newFolder(): string;
}

/** Makes the models before the tests of a file, and removes them and all new folders afterwards. */
export function savedModels(): SavedModels {
  const scratch = mkdtempSync(join(tmpdir(), "saved-"));
  let count = 0;
  const models: SavedModels = {
    source: join(scratch, "source"),
    savedByMflux: join(scratch, "q4"),
    newFolder: () => join(scratch, `${count++}`),
  };
  before(() => makeModels(models));
  after(() => rmSync(scratch, { recursive: true }));
  return models;
}

async function makeModels({ source, savedByMflux, newFolder }: SavedModels): Promise<void> {
  for (const name of ["vae", "tokenizer", "tokenizer_2", "scheduler", "model_index.json"])
    cpSync(join(bundled, name), join(source, name), { recursive: true });
  for (const name of goldenComponents) {
    cpSync(join(goldenFolder, "source", name), join(source, name), { recursive: true });
    cpSync(join(goldenFolder, "q4", name), join(savedByMflux, name), { recursive: true });
  }
  for (const name of ["tokenizer", "tokenizer_2"])
    cpSync(join(goldenFolder, "q4", name), join(savedByMflux, name), { recursive: true });
  const saved = newFolder();
  await saveModel({ model: source, quantize: 4, path: saved });
  cpSync(join(saved, "vae"), join(savedByMflux, "vae"), { recursive: true });
  rmSync(join(savedByMflux, "vae", "config.json"));
}

/** A quick request. */
export const gradientRequest: GenerateOptions = {
  prompt: "a gold portrait, at sunset",
  depthImage: gradientMap,
  width: 64,
  height: 64,
  steps: 2,
  seed: 7,
};

/** Fingerprints of a component's parameters as held in memory, by path. */
export async function parametersOf(
  options: LoadOptions,
  name: keyof FluxNetworks,
): Promise<Map<string, string>> {
  const resolved = resolveLoadOptions(options);
  const { files } = await findModel(resolved);
  const component = openModel(files, resolved, "cpu").components[name]!;
  const module: Module = await component.get();
  const found = new Map<string, string>();
  for (const [key, value] of module.parameters()) found.set(key, fingerprint(value));
  component.free();
  return found;
}

/** The dtype, the shape, and a hash of the bits of an array. */
export function fingerprint(value: MxArray): string {
  const { buffer, byteOffset, byteLength } = value.toTypedArray();
  const hash = createHash("sha1")
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest("hex");
  return `${value.dtype} [${value.shape}] ${hash}`;
}

/** Everything that the files of a component contain: tensors, metadata and index. */
export function contentsOf(folder: string): object {
  const checkpoint = openCheckpoint(folder);
  const tensors = new Map<string, string>();
  for (const [name, tensor] of checkpoint.tensors()) {
    tensors.set(name, fingerprint(tensor));
    tensor.dispose();
  }
  const { arrays, metadata } = loadSafetensors(checkpoint.files[0]!);
  for (const one of arrays.values()) one.dispose();
  return {
    names: [...tensors.keys()].sort(),
    tensors,
    metadata: Object.fromEntries(metadata),
    index: readConfig(folder, "model.safetensors.index.json"),
  };
}
