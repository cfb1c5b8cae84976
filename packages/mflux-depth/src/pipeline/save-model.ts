/*
 * Saving a model quantized: the weights in mflux's layout, so that mflux reads them too, with configs, scheduler,
 * tokenizers and the origin beside them, so that ours needs nothing else.
 */

import { copyFile, mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { MlxError, memory } from "@mflux-depth/mlx";
import { describeBytes } from "../bytes.js";
import { estimatorIn } from "../depth/repository.js";
import { ModelError, OptionError, OutputError } from "../errors.js";
import { type ComponentName, componentNames } from "../families/family.js";
import type { ModelFiles } from "../families/model-files.js";
import { isFolder } from "../files/folders.js";
import type { DownloadProgress } from "../hub/transfer.js";
import {
  type Bits,
  type LoadOptions,
  loadOptions,
  optionsFor,
  type ResolvedLoadOptions,
  refuseUnknown,
  resolveLoadOptions,
} from "../options/index.js";
import { packageVersion } from "../version.js";
import { mfluxKeys, mfluxVersion } from "../weights/mflux.js";
import { originFile } from "../weights/origin.js";
import { intoShards, type NamedArray, writeSafetensors } from "../weights/writer.js";
import { findModel, openModel, quantizeNotes } from "./model.js";

/** The options of the model that saving has: which weights, and what becomes of them. */
const saveOptions = optionsFor(loadOptions, "save");
type SaveOption = keyof typeof saveOptions;

/** Part of a model has been written. */
export interface SaveProgress {
  readonly state: "write";
  /** The folder in work: "transformer". */
  readonly component: string;
  /** Bytes of the whole model's weights written so far. */
  readonly bytes: number;
  /** Bytes that they take in all. */
  readonly totalBytes: number;
}

export interface SaveModelOptions extends Pick<LoadOptions, SaveOption> {
  /** A folder that does not exist yet, or is empty. */
  readonly path: string;
  /** Told how a download goes on, and the writing. */
  readonly onProgress?: ((progress: SaveProgress | DownloadProgress) => void) | undefined;
  /** Ends the saving within milliseconds and leaves nothing. */
  readonly signal?: AbortSignal | undefined;
}

export interface SavedModel {
  /** The folder. */
  readonly path: string;
  /** Size of all weights. */
  readonly bytes: number;
  /** Bits of the matrices; null when they are not quantized. */
  readonly quantize: Bits | null;
  /** One sentence for each thing that was not done quite as asked. */
  readonly notes: readonly string[];
}

/**
 * Saves a model with its weights quantized, as mflux does: the folder can be given as `model` here and to mflux. One
 * tensor at a time is in memory. The folder appears whole or not at all.
 *
 * What is not quantized is bfloat16, as mflux computes with, unless `dtype` says otherwise.
 * @throws {OptionError} for an option's value.
 * @throws {ModelError} when the model is not there, or its weights do not fit.
 * @throws {OutputError} when the folder is not empty or cannot be written, or the disk is full.
 */
export async function saveModel(given: SaveModelOptions): Promise<SavedModel> {
  const { path, onProgress, signal, ...rest } = given;
  refuseUnknown(Object.keys(rest), Object.keys(saveOptions));
  const options = resolveLoadOptions({ ...rest, dtype: rest.dtype ?? "bfloat16" });
  if (typeof path !== "string" || path.trim() === "")
    throw new OptionError("path", "path is missing: say which folder to make.");
  signal?.throwIfAborted();
  const target = resolve(path);
  await checkTarget(target);
  const { repository, files } = await findModel(options, { signal, onProgress });
  const quantize = files.storedBits ?? options.quantize;
  const plans = await planWeights(files, options);
  try {
    const totalBytes = plans.reduce((sum, { shards }) => sum + bytesOf(shards.flat()), 0);
    await checkSpace(target, totalBytes);
    let bytes = 0;
    await whole(target, async (folder) => {
      for (const plan of plans) {
        const onBytes = (count: number): void => {
          bytes += count;
          onProgress?.({ state: "write", component: plan.name, bytes, totalBytes });
        };
        await writeComponent(join(folder, plan.name), plan, quantize, { signal, onBytes });
        memory.clearCache();
      }
      await copyRest(folder, files, signal);
      await writeJson(join(folder, originFile), {
        mflux_depth_version: packageVersion(),
        model: files.origin?.model ?? repository.name,
        revision: repository.revision ?? null,
        quantize,
        dtype: options.dtype,
      });
      signal?.throwIfAborted();
    });
    const notes = [...files.notes, ...quantizeNotes(files.storedBits, rest.quantize)];
    return { path, bytes: totalBytes, quantize, notes };
  } catch (error) {
    if (!(error instanceof MlxError)) throw error;
    throw new ModelError(repository.folder, `the weights cannot be read (${error.message})`, {
      cause: error,
    });
  } finally {
    disposeAll(plans);
    memory.clearCache();
  }
}

// ---------------------------------------------------------------- weights

/** The tensors of a component, lazy, as its files will hold them. */
interface Plan {
  readonly name: ComponentName;
  readonly shards: readonly (readonly NamedArray[])[];
}

/** What mflux puts into one file at most, unless a tensor alone has more. */
const shardBytes = 2 ** 31;

const bytesOf = (tensors: readonly NamedArray[]): number =>
  tensors.reduce((sum, [, { nbytes }]) => sum + nbytes, 0);

function disposeAll(plans: readonly Plan[]): void {
  for (const [, array] of plans.flatMap(({ shards }) => shards.flat())) array.dispose();
}

/** Checks all weights and says what becomes of them; reads none. */
async function planWeights(files: ModelFiles, options: ResolvedLoadOptions): Promise<Plan[]> {
  const { components } = openModel(files, options, "cpu");
  const plans: Plan[] = [];
  try {
    for (const name of componentNames) {
      const parameters: NamedArray[] = [];
      plans.push({ name, shards: [parameters] });
      await components[name].deliver((key, arrays) => {
        const layer = key.slice(0, key.lastIndexOf(".") + 1);
        for (const [own, array] of Object.entries(arrays)) parameters.push([layer + own, array]);
      });
      const blocks = new Set(parameters.map(([key]) => /^encoder\.block\.(\d+)\./.exec(key)?.[1])).size - 1;
      const tensors = parameters.flatMap(([key, array]) =>
        mfluxKeys(name, key, blocks).map((saved): NamedArray => [saved, array]),
      );
      plans[plans.length - 1] = { name, shards: intoShards(tensors, shardBytes) };
    }
    return plans;
  } catch (error) {
    disposeAll(plans);
    throw error;
  }
}

async function writeComponent(
  folder: string,
  { shards }: Plan,
  quantize: Bits | null,
  options: { signal?: AbortSignal | undefined; onBytes: (count: number) => void },
): Promise<void> {
  await mkdir(folder);
  const metadata = {
    quantization_level: quantize === null ? "None" : `${quantize}`,
    mflux_version: mfluxVersion,
  };
  const places: Record<string, string> = {};
  for (const [index, tensors] of shards.entries()) {
    const file = `${index}.safetensors`;
    await writeSafetensors(join(folder, file), tensors, metadata, options);
    for (const [name] of tensors) places[name] = file;
  }
  await writeJson(join(folder, "model.safetensors.index.json"), { metadata, weight_map: places });
}

const writeJson = (path: string, value: unknown): Promise<void> =>
  writeFile(path, `${JSON.stringify(value, null, 2)}\n`, { flag: "wx" });

// ---------------------------------------------------------------- the rest

/** Configs, scheduler, tokenizers, the licence, and Depth Pro where the model brings its own. */
async function copyRest(
  folder: string,
  { folder: source, configs }: ModelFiles,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const tokenizer of ["tokenizer", "tokenizer_2"])
    await copyFolder(join(source, tokenizer), join(folder, tokenizer), signal);
  const estimator = estimatorIn(source);
  if (estimator !== null) await copyFolder(estimator, join(folder, basename(estimator)), signal);
  for (const name of await readdir(source))
    if (/^(LICENSE|NOTICE)/i.test(name)) await copyFile(join(source, name), join(folder, name));
  await copyFolder(join(configs, "scheduler"), join(folder, "scheduler"), signal);
  for (const component of componentNames)
    await copyFile(join(configs, component, "config.json"), join(folder, component, "config.json"));
  if ((await readdir(configs)).includes("model_index.json"))
    await copyFile(join(configs, "model_index.json"), join(folder, "model_index.json"));
}

/** Copies the files in a folder; links, which the Hugging Face cache is made of, become files. */
async function copyFolder(from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  await mkdir(to);
  for (const name of await readdir(from)) {
    signal?.throwIfAborted();
    if ((await stat(join(from, name))).isFile()) await copyFile(join(from, name), join(to, name));
  }
}

// ---------------------------------------------------------------- whole or not at all

/** @throws {OutputError} when there is something already, or nowhere to put it. */
async function checkTarget(target: string): Promise<void> {
  const kind = await stat(target).catch(() => null);
  if (kind && !kind.isDirectory())
    throw new OutputError(target, "there is a file of this name; name a new folder.");
  if (kind && (await readdir(target)).length > 0)
    throw new OutputError(target, "this folder is not empty; name a new one.");
  if (!isFolder(dirname(target)))
    throw new OutputError(target, `there is no folder ${dirname(target)} to make it in.`);
}

/** @throws {OutputError} when the disk has less room than the weights take. */
async function checkSpace(target: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(target));
  if (bavail * bsize < bytes)
    throw new OutputError(
      target,
      `the disk is too full: the model takes ${describeBytes(bytes)}, ${describeBytes(bavail * bsize)} are free.`,
    );
}

/** Lets `write` fill a folder beside `target`, which becomes `target` when all of it is on the disk. */
async function whole(target: string, write: (folder: string) => Promise<void>): Promise<void> {
  const partial = `${target}.${process.pid}.partial`;
  try {
    await removeLeftovers(target);
    await mkdir(partial);
  } catch (error) {
    throw asOutputError(target, error);
  }
  try {
    await write(partial);
    await sync(partial);
    await rename(partial, target);
    await sync(dirname(target), { deep: false });
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw asOutputError(target, error);
  }
}

/** Removes what killed processes left of the same folder. */
async function removeLeftovers(target: string): Promise<void> {
  for (const name of await readdir(dirname(target))) {
    const [, stem, pid] = /^(.*)\.(\d+)\.partial$/.exec(name) ?? [];
    if (stem === basename(target) && !isRunning(Number(pid)))
      await rm(join(dirname(target), name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Waits until a folder is on the disk, with all that is in it. */
async function sync(path: string, { deep = true } = {}): Promise<void> {
  if (deep)
    for (const entry of await readdir(path, { withFileTypes: true }))
      await sync(join(path, entry.name), { deep: entry.isDirectory() });
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const fullCodes = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** What the file system says, as a sentence; other errors as they are. */
function asOutputError(target: string, error: unknown): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (!(error instanceof Error) || syscall === undefined) return error;
  const reason = fullCodes.has(code ?? "")
    ? `there is no more room for it on the disk (${code}); nothing of it was left.`
    : `it cannot be written (${message}).`;
  return new OutputError(target, reason, { cause: error });
}
