import { existsSync } from "node:fs";
import { join } from "node:path";
import { isAvailable, setDefaultDevice } from "@mflux-depth/mlx";
import { ModelError, OptionError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { obtainRepository } from "../hub/obtain.js";
import { bundledModel, resolveRepository } from "../hub/repository.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { DeviceName } from "../options/index.js";
import type { DepthEstimator, EstimatorLoadOptions } from "./estimator.js";
import { openerOf } from "./registry.js";
import { estimatorIn, estimatorKind } from "./repository.js";

export interface OpenOptions extends EstimatorLoadOptions {
  /** A repository or a folder with a depth model, or with a model that contains one. */
  readonly depthModel?: string | null | undefined;
  /** The folder of the image model in use. If that contains a depth model, it is the default. */
  readonly modelFolder?: string | undefined;
  readonly revision?: string | undefined;
  /** Where to compute; stays as it is set for the process when absent. */
  readonly device?: DeviceName | undefined;
}

export interface ObtainOptions extends OpenOptions {
  /** Use only what is on this machine. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told about the download. */
  readonly onDownload?: ((progress: DownloadProgress) => void) | undefined;
}

/**
 * Downloads what is missing of a depth model, then opens it like {@link openEstimator}.
 * @throws {OptionError} when the device is not available.
 * @throws {ModelError} when it cannot be downloaded, is not a depth model that this library knows, or has no weights.
 * @throws the signal's reason when it is aborted.
 */
export async function obtainEstimator(options: ObtainOptions = {}): Promise<DepthEstimator> {
  const { depthModel, modelFolder, revision, offline, signal, onDownload } = options;
  if (!depthModel && modelFolder !== undefined && estimatorIn(modelFolder) !== null)
    return openEstimator(options);
  const { folder } = await obtainRepository(
    { model: depthModel || defaultDepthModel, revision },
    { kind: estimatorKind, offline, signal, onProgress: onDownload },
  );
  return openEstimator({ ...options, depthModel: folder });
}

/**
 * Opens a depth model that is on this machine. Reads its configs, but no weights.
 * @throws {OptionError} when the device is not available.
 * @throws {ModelError} when it is missing, is not a depth model that this library knows, or has no weights.
 */
export function openEstimator(options: OpenOptions = {}): DepthEstimator {
  const { device, onLoad } = options;
  if (device !== undefined) {
    if (!isAvailable(device))
      throw new OptionError("device", `device is ${device}, which MLX cannot use on this machine.`);
    setDefaultDevice(device);
  }
  const folder = findFolder(options);
  const { model_type: modelType } = readConfig(folder, "config.json");
  return openerOf(modelType, join(folder, "config.json"))(folder, { onLoad });
}

/** @throws {ModelError} when there is no depth model where the options say. */
function findFolder({ depthModel, modelFolder, revision }: OpenOptions): string {
  if (!depthModel) {
    const own = modelFolder === undefined ? null : estimatorIn(modelFolder);
    return own ?? resolveRepository(defaultDepthModel).folder;
  }
  const { folder } = resolveRepository(depthModel, { revision });
  if (existsSync(join(folder, "config.json"))) return folder;
  const own = estimatorIn(folder);
  if (own !== null) return own;
  throw new ModelError(
    folder,
    existsSync(join(folder, "model_index.json"))
      ? `this is a diffusion model without a depth model; name ${defaultDepthModel}, or ${bundledModel} for the small bundled one`
      : `this is not a depth model, because there is no config.json; name ${defaultDepthModel}`,
  );
}
