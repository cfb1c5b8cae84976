/* Finds the weight files of a component by names and indexes. Nothing here opens weights or needs MLX. */
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { isRecord } from "../record.js";

/** File names without extension that diffusers and transformers give to weights. */
const stems = ["diffusion_pytorch_model", "model"];

/** Whether a file holds weights that this library reads. */
export const isWeightFile = (name: string): boolean => name.endsWith(".safetensors");

/** The variants that weight files are named after, each once: "fp16" of `model.fp16.safetensors`. */
export const variantsAmong = (names: readonly string[]): string[] => {
  const found = names.map((name) => /\.([a-z]\w*)(-\d+-of-\d+)?\.safetensors$/.exec(name)?.[1]);
  return [...new Set(found.filter((variant) => variant !== undefined))];
};

/** The files of one component's weights. */
export interface WeightFiles {
  files: string[];
  /** The metadata of the index. */
  metadata: Map<string, string>;
  /** The file of each tensor, according to the index. */
  listed: Map<string, string>;
}

/**
 * Chooses the weights among a folder's files: a single file, the index of shards, or files numbered from 0, which old
 * versions of mflux saved without an index. Returns null if there are none or the choice is ambiguous. The same rule
 * decides what is downloaded.
 */
export function weightsAmong(
  names: readonly string[],
  variant: string | undefined,
): { readonly single?: string; readonly index?: string; readonly numbered?: readonly string[] } | null {
  const middle = variant === undefined ? "" : `.${variant}`;
  for (const stem of stems) {
    const single = `${stem}${middle}.safetensors`;
    if (names.includes(single)) return { single };
    // diffusers has put the variant on either side of "index".
    for (const index of [
      `${stem}.safetensors.index${middle}.json`,
      `${stem}.safetensors${middle}.index.json`,
    ])
      if (names.includes(index)) return { index };
  }
  if (variant !== undefined) return null;
  const others = names.filter(isWeightFile);
  if (others.length === 1) return { single: others[0]! };
  const indexes = names.filter((name) => /\.safetensors\.(index\.\w+|\w+\.index)\.json$/.test(name));
  if (indexes.length === 1) return { index: indexes[0]! };
  const numbered = others.map((_, i) => `${i}.safetensors`);
  return numbered.length > 0 && numbered.every((name) => others.includes(name)) ? { numbered } : null;
}

/** The variant if a folder has weights of it; like diffusers, we read the plain weights of other components. */
export const variantIn = (folder: string, variant: string | undefined): string | undefined =>
  variant !== undefined && isFolder(folder) && weightsAmong(readdirSync(folder), variant)
    ? variant
    : undefined;

/** Lists the shards that an index names. */
export function shardsOf(folder: string, index: string): string[] {
  return readIndex(folder, index, { complete: false }).files.map((file) => basename(file));
}

/**
 * Finds the weights in a folder.
 * @throws {ModelError} if there are none, or their index is damaged or names a missing file.
 */
export function findFiles(folder: string, variant: string | undefined): WeightFiles {
  const names = listFolder(folder);
  const middle = variant === undefined ? "" : `.${variant}`;
  const found = weightsAmong(names, variant);
  if (found?.index) return readIndex(folder, found.index);
  const files = found?.single === undefined ? found?.numbered : [found.single];
  if (files)
    return { files: files.map((file) => join(folder, file)), metadata: new Map(), listed: new Map() };
  const others = names.filter(isWeightFile);
  const expected = `expected ${stems.map((stem) => `${stem}${middle}.safetensors`).join(" or ")}, or an index with shards`;
  if (others.length > 0) throw new ModelError(folder, `${expected}; found ${others.join(", ")}`);
  const pickled = names.filter((name) => /\.(bin|pt|pth|ckpt|pkl)$/.test(name));
  if (pickled.length > 0)
    throw new ModelError(
      folder,
      `${pickled[0]} is a pickle file, which can run code and is never opened; get the safetensors version of these weights (${expected})`,
    );
  throw new ModelError(folder, `contains no weights; ${expected}`);
}

function readIndex(folder: string, index: string, { complete = true } = {}): WeightFiles {
  const path = join(folder, index);
  const content = readConfig(folder, index);
  const map = content.weight_map;
  if (!isRecord(map) || Object.keys(map).length === 0)
    throw new ModelError(path, "this is not an index of weights; expected a weight_map");
  const listed = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== "string" || !/^[^/\\]+\.safetensors$/.test(file))
      throw new ModelError(
        path,
        `tensor "${name}" should be in ${JSON.stringify(file)}; expected a safetensors file in the folder of the index`,
      );
    listed.set(name, join(folder, file));
  }
  const files = [...new Set(listed.values())].sort();
  for (const file of files)
    if (complete && !existsSync(file))
      throw new ModelError(file, `this shard is missing; ${index} names it, so the download is incomplete`);
  const metadata = new Map<string, string>();
  if (isRecord(content.metadata))
    for (const [key, value] of Object.entries(content.metadata)) metadata.set(key, String(value));
  return { files, metadata, listed };
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    throw new ModelError(folder, "there is no such folder", { cause: error });
  }
}
