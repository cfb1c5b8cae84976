import { basename } from "node:path";
import {
  type Bits,
  type DType,
  fromFp8,
  loadSafetensors,
  MlxError,
  type MxArray,
  readSafetensorsHeader,
  type SafetensorsEntry,
  SafetensorsError,
  type SafetensorsHeader,
} from "@mflux-depth/mlx";
import { LoadError, type LoadOptions, type Module } from "@mflux-depth/mlx/nn";
import { ModelError } from "../errors.js";
import { findFiles } from "./files.js";
import { isSaved, savedTensors } from "./mflux.js";

/** The weights of one component: a folder of a repository in the layout of diffusers. */
export interface Checkpoint {
  /** The file or, for shards, their folder. */
  readonly source: string;
  /** The files that hold tensors. */
  readonly files: readonly string[];
  /** Which of them holds a tensor. */
  readonly fileOf: ReadonlyMap<string, string>;
  /** Dtype, shape and place of each tensor. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  /** What the files and their index say about themselves. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Size of all tensors in the files. */
  readonly bytes: number;
  /**
   * The tensors with their names, lazy, file by file in the order of their bytes. What is yielded belongs to the
   * consumer; what it does not take is freed when the iteration ends.
   */
  tensors(): Generator<readonly [string, MxArray], void>;
}

/**
 * Opens the weights in `folder`: one safetensors file, or an index with the shards it names. Headers are checked,
 * no tensor is read.
 * @param variant the middle of `model.fp16.safetensors`.
 * @throws {ModelError} when there are none, when a file is damaged, when the index and the shards disagree.
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
      throw new ModelError(file, `tensor "${name}" is missing, although the index says that it is here`);
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

/**
 * Loads a component's weights into its module, strictly both ways and off the event loop. What mflux saved is read as if it were in the layout
 * of diffusers; the bits that matrices are stored with stay.
 * @param options.rename gives the name under which the module knows a tensor, null for one that it does not use.
 * @param options.original the checkpoint that a saved one was made from, for a tensor that got lost.
 * @param options.deliver takes the parameters in place of the module (see {@link LoadOptions}).
 * @param options.onBytes told how many bytes of tensors have been read, again and again.
 * @throws {ModelError} that names the file and the tensor when they do not fit. The module is then disposed.
 * @throws the reason of `options.signal` when it is aborted; the module is then disposed too.
 */
export async function loadWeights(
  module: Module,
  checkpoint: Checkpoint,
  options: {
    dtype?: DType;
    matrices?: NonNullable<LoadOptions["matrices"]>;
    quantization?: { bits: Bits; groupSize?: number } | undefined;
    rename?: (name: string) => string | null;
    original?: Checkpoint | null;
    deliver?: NonNullable<LoadOptions["deliver"]>;
    onBytes?: (bytes: number) => void;
    signal?: AbortSignal | undefined;
  } = {},
): Promise<void> {
  const { dtype, matrices, quantization, deliver, onBytes, signal } = options;
  const { rename = (name) => name, original = null } = options;
  /** What the file calls a tensor that the module has under another name. */
  const storedNames = new Map<string, string>();
  function* renamed(): Generator<readonly [string, MxArray], void> {
    const tensors = isSaved(checkpoint) ? savedTensors(checkpoint, original) : asStored(checkpoint);
    for (const [name, plain, tensor] of tensors) {
      const key = rename(plain);
      if (key === null) {
        tensor.dispose();
        continue;
      }
      storedNames.set(key, name);
      yield [key, tensor];
    }
  }
  try {
    await module.load(renamed(), {
      ...(dtype && { dtype }),
      ...(matrices && { matrices }),
      ...(quantization && { quantization }),
      ...(deliver && { deliver }),
      ...(onBytes && { onRead: (keys) => onBytes(storedBytes(checkpoint, storedNames, keys)) }),
      signal,
    });
  } catch (error) {
    if (error instanceof LoadError) throw misfit(error, checkpoint, storedNames);
    throw asModelError(checkpoint.source, error);
  }
}

function* asStored(
  checkpoint: Checkpoint,
): Generator<readonly [name: string, key: string, tensor: MxArray], void> {
  for (const [name, tensor] of checkpoint.tensors()) yield [name, name, tensor];
}

function storedBytes(
  { entries }: Checkpoint,
  storedNames: ReadonlyMap<string, string>,
  keys: readonly string[],
): number {
  return keys.reduce((sum, key) => {
    const entry = entries.get(storedNames.get(key) ?? key);
    return sum + (entry ? entry.end - entry.start : 0);
  }, 0);
}

/** The first problem of a strict load, with the file's own name of the tensor. */
function misfit(
  error: LoadError,
  { fileOf, source }: Checkpoint,
  storedNames: ReadonlyMap<string, string>,
): ModelError {
  const because = (tensor: string | undefined, problem: string, others: number): ModelError =>
    new ModelError(
      (tensor !== undefined && fileOf.get(tensor)) || source,
      `${problem}${others > 0 ? ` (as ${others} more ${others > 1 ? "are" : "is"})` : ""}`,
      { cause: error },
    );
  const { misshapen, missing, unexpected } = error;
  if (misshapen[0]) {
    const { name, expected, found } = misshapen[0];
    const stored = storedNames.get(name) ?? name;
    return because(
      stored,
      `tensor "${stored}" is ${found}, not ${expected} as the config says`,
      misshapen.length - 1,
    );
  }
  if (missing[0] !== undefined)
    return because(undefined, `tensor "${missing[0]}" is missing`, missing.length - 1);
  const stored = storedNames.get(unexpected[0] ?? "") ?? unexpected[0] ?? "";
  return because(stored, `tensor "${stored}" is no part of this model`, unexpected.length - 1);
}

function asModelError(file: string, error: unknown): unknown {
  if (error instanceof SafetensorsError) return new ModelError(error.path, error.reason, { cause: error });
  if (!(error instanceof MlxError)) return error;
  return new ModelError(file, `the weights cannot be read (${error.message})`, { cause: error });
}
