import { basename, join, resolve } from "node:path";
import { MlxError } from "@mflux-depth/mlx";
import { ModelError, OptionError } from "../../errors.js";
import { checkDiskSpace, checkNewFolder, writeFolder } from "../../files/atomic-folder.js";
import type { DownloadProgress } from "../../hub/transfer.js";
import { Listener } from "../../listener.js";
import {
  type Bits,
  type LoadOptions,
  loadOptions,
  optionsFor,
  refuseUnknown,
  resolveLoadOptions,
} from "../../options/index.js";
import { packageVersion } from "../../version.js";
import { originFile, savedLoraFolder } from "../../weights/origin.js";
import { filesOfLora } from "../model/lora-source.js";
import { Loras } from "../model/loras.js";
import { findModel, openModel, quantizeNotes } from "../model/model.js";
import { bytesOf, copyFiles, copyModelFiles, writeJson } from "./save-files.js";
import { ModelTensors } from "./save-weights.js";

const saveOptions = optionsFor(loadOptions, "save");

/** Progress of writing a model's weights. */
export interface SaveProgress {
  readonly state: "write";
  /** The component being written: "transformer". */
  readonly component: string;
  /** Bytes of the whole model's weights written so far. */
  readonly bytes: number;
  /** Bytes of the whole model's weights. */
  readonly totalBytes: number;
}

export interface SaveModelOptions extends Pick<LoadOptions, keyof typeof saveOptions> {
  /** The folder to create; an existing one must be empty. */
  readonly path: string;
  /** Receives the progress of downloading and of writing. */
  readonly onProgress?: ((progress: SaveProgress | DownloadProgress) => void) | undefined;
  /** Stops within milliseconds and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
}

export interface SavedModel {
  /** The folder. */
  readonly path: string;
  /** Bytes of all weights. */
  readonly bytes: number;
  /** Bits of the matrices; null when they are not quantized. */
  readonly quantize: Bits | null;
  /** Differences from the request, one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Saves a model with its weights quantized, in mflux's layout: both this library and mflux load the folder. Only one
 * tensor at a time is in memory. The folder appears completely or not at all.
 *
 * Saves the weights as they are in the files; unlike `FluxDepth.load`, it has no `prepare`.
 *
 * LoRAs are saved in files of their own, which loading the folder uses with the scales that they have here; the depth LoRA
 * comes with a transformer that is widened for it. With `bakeLora`, they are merged before the weights are quantized.
 *
 * Tensors that are not quantized become bfloat16, as in mflux, unless `dtype` is given.
 * @throws {OptionError} for an invalid value.
 * @throws {ModelError} when the model is not found, or its weights do not fit their configs.
 * @throws {OutputError} when the folder is not empty or cannot be written, or the disk is full.
 */
export async function saveModel(given: SaveModelOptions): Promise<SavedModel> {
  const { path, onProgress, signal: cancel, ...rest } = given;
  refuseUnknown(Object.keys(rest), Object.keys(saveOptions));
  const options = resolveLoadOptions({ ...rest, dtype: rest.dtype ?? "bfloat16" });
  if (typeof path !== "string" || path.trim() === "")
    throw new OptionError("path", "path is required: the folder to create.");
  const listener = new Listener(onProgress);
  using job = listener.job(cancel);
  const { signal } = job;
  signal.throwIfAborted();
  const target = resolve(path);
  await checkNewFolder(target);

  const obtaining = { signal, onProgress: listener.tell };
  const { repository, files } = await findModel(options, obtaining);
  const bits = files.storedBits ?? options.quantize;
  const loras = await Loras.open(files, options, obtaining);
  const merged = options.bakeLora ? loras : Loras.none;
  const separate = options.bakeLora ? [] : loras.paths.map(filesOfLora);
  using tensors = await ModelTensors.of(openModel(files, options, "cpu", { loras: merged }), signal);
  const totalBytes = tensors.bytes;
  await checkDiskSpace(target, totalBytes + (await bytesOf(separate.flat())));
  let bytes = 0;
  try {
    await writeFolder(target, async (folder) => {
      await tensors.write(folder, {
        bits,
        signal,
        onBytes(component, count) {
          bytes += count;
          listener.tell({ state: "write", component, bytes, totalBytes });
        },
      });
      await copyModelFiles(files, folder, signal);
      for (const [index, paths] of separate.entries())
        await copyFiles(paths, join(folder, savedLoraFolder(index)), signal);
      await writeJson(join(folder, originFile), {
        mflux_depth_version: packageVersion(),
        model: files.origin?.model ?? repository.name,
        revision: repository.revision ?? null,
        quantize: bits,
        dtype: options.dtype,
        ...(loras.states.length > 0 && {
          loras: loras.states.map((state, index) => ({
            ...state,
            ...(separate[index] && { file: basename(separate[index][0]!) }),
          })),
        }),
      });
      signal.throwIfAborted();
    });
  } catch (error) {
    if (!(error instanceof MlxError)) throw error;
    throw new ModelError(repository.folder, `the weights cannot be read (${error.message})`, {
      cause: error,
    });
  }
  const notes = [...files.notes, ...loras.notes, ...quantizeNotes(files.storedBits, rest.quantize)];
  return { path, bytes: totalBytes, quantize: bits, notes };
}
