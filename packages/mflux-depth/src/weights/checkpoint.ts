import { basename } from "node:path";
import {
  fromFp8,
  loadSafetensors,
  type MxArray,
  readSafetensorsHeader,
  type SafetensorsHeader,
} from "@mflux-depth/mlx";
import { ModelError } from "../errors.js";
import { asModelError, type Checkpoint, type StoredTensor } from "./format.js";
import { findFiles, type WeightFiles } from "./weight-files.js";

/**
 * Opens the weights in `folder`: one safetensors file, or an index with the shards it names. Headers are checked,
 * but no tensor is read.
 * @param variant the middle of `model.fp16.safetensors`.
 * @throws {ModelError} if there are none, a file is damaged, or the index and the shards disagree.
 */
export function openCheckpoint(folder: string, options: { variant?: string | undefined } = {}): Checkpoint {
  return checkpointOf(folder, findFiles(folder, options.variant));
}

/**
 * Opens the weights in one safetensors file. Its header is checked, but no tensor is read.
 * @throws {ModelError} if it is damaged.
 */
export const openCheckpointFile = (path: string): Checkpoint =>
  checkpointOf(path, { files: [path], metadata: new Map(), listed: new Map() });

function checkpointOf(folder: string, { files, metadata, listed }: WeightFiles): Checkpoint {
  const fileOf = new Map<string, string>();
  const entries = new Map<string, StoredTensor>();
  let bytes = 0;
  for (const file of files) {
    const header = readHeader(file);
    for (const [key, value] of header.metadata) metadata.set(key, value);
    for (const [name, { dtype, shape, start, end }] of header.tensors) {
      const other = fileOf.get(name);
      if (other !== undefined) throw new ModelError(file, `tensor "${name}" is also in ${basename(other)}`);
      fileOf.set(name, file);
      entries.set(name, { dtype, shape, bytes: end - start });
      bytes += end - start;
    }
  }
  for (const [name, file] of listed)
    if (fileOf.get(name) !== file)
      throw new ModelError(file, `tensor "${name}" is missing, although the index places it here`);
  return {
    source: files.length === 1 ? files[0]! : folder,
    files,
    fileOf,
    entries,
    metadata,
    bytes,
    *tensors() {
      for (const file of files) yield* tensorsOf(file);
    },
  };
}

function* tensorsOf(file: string): Generator<readonly [string, MxArray], void> {
  const { tensors } = readHeader(file);
  const { arrays } = loadSafetensors(file);
  try {
    for (const [name, { dtype }] of tensors) {
      const stored = arrays.get(name);
      if (!stored) throw new ModelError(file, `MLX did not read tensor "${name}"`);
      arrays.delete(name);
      if (dtype !== "F8_E4M3") {
        yield [name, stored];
        continue;
      }
      using float8 = stored;
      yield [name, fromFp8(float8, "float32")];
    }
  } finally {
    for (const array of arrays.values()) array.dispose();
  }
}

function readHeader(file: string): SafetensorsHeader {
  try {
    return readSafetensorsHeader(file);
  } catch (error) {
    throw asModelError(file, error);
  }
}
