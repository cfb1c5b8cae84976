import { basename } from "node:path";
import {
  fromFp8,
  loadSafetensors,
  MlxError,
  type MxArray,
  readSafetensorsHeader,
  type SafetensorsEntry,
  SafetensorsError,
  type SafetensorsHeader,
} from "@mflux-depth/mlx";
import { ModelError } from "../errors.js";
import { findFiles } from "./weight-files.js";

/** The weight files of one component, which are in one folder of a repository. */
export interface Checkpoint {
  /** The file, or the folder of shards. */
  readonly source: string;
  /** The files that hold tensors. */
  readonly files: readonly string[];
  /** The file that holds each tensor. */
  readonly fileOf: ReadonlyMap<string, string>;
  /** Dtype, shape and position of each tensor. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  /** The metadata of the files and of their index. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Size of all tensors in the files. */
  readonly bytes: number;
  /**
   * Yields the tensors with their names, lazily, file by file in the order of their bytes. Yielded tensors belong to
   * the consumer; the rest is freed when the iteration ends.
   */
  tensors(): Generator<readonly [string, MxArray], void>;
}

/**
 * Opens the weights in `folder`: one safetensors file, or an index with the shards it names. Headers are checked,
 * but no tensor is read.
 * @param variant the middle of `model.fp16.safetensors`.
 * @throws {ModelError} if there are none, a file is damaged, or the index and the shards disagree.
 */
export function openCheckpoint(folder: string, options: { variant?: string | undefined } = {}): Checkpoint {
  const { files, metadata, listed } = findFiles(folder, options.variant);
  const fileOf = new Map<string, string>();
  const entries = new Map<string, SafetensorsEntry>();
  let bytes = 0;
  for (const file of files) {
    const header = readHeader(file);
    for (const [key, value] of header.metadata) metadata.set(key, value);
    for (const [name, entry] of header.tensors) {
      const other = fileOf.get(name);
      if (other !== undefined) throw new ModelError(file, `tensor "${name}" is also in ${basename(other)}`);
      fileOf.set(name, file);
      entries.set(name, entry);
      bytes += entry.end - entry.start;
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

/** The ModelError for an error of MLX or of a file header; other errors unchanged. */
export function asModelError(file: string, error: unknown): unknown {
  if (error instanceof SafetensorsError) return new ModelError(error.path, error.reason, { cause: error });
  if (!(error instanceof MlxError)) return error;
  return new ModelError(file, `the weights cannot be read (${error.message})`, { cause: error });
}
