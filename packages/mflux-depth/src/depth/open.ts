import { existsSync } from "node:fs";
import { join } from "node:path";
import { isAvailable, setDefaultDevice } from "@mflux-depth/mlx";
import { ModelError, OptionError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { type DownloadProgress, obtainRepository } from "../hub/obtain.js";
import { bundledModel, resolveRepository } from "../hub/repository.js";
import type { DeviceName } from "../options/index.js";
import type { DepthEstimator, EstimatorLoadOptions } from "./estimator.js";
import { defaultEstimator, estimatorOf, estimators } from "./registry.js";

export interface OpenOptions extends EstimatorLoadOptions {
  /** A repository or a folder with a depth model, or with a model that contains one. */
  readonly depthModel?: string | null | undefined;
  /** The folder of the image model in use. If that contains a depth model, it is the default. */
  readonly fluxFolder?: string | undefined;
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
  const { depthModel, fluxFolder, revision, offline, signal, onDownload } = options;
  if (!depthModel && fluxFolder !== undefined && depthModelIn(fluxFolder) !== null)
    return openEstimator(options);
  const { folder } = await obtainRepository(
    { model: depthModel || defaultEstimator.repository, revision },
    { kind: "Depth Pro", offline, signal, onProgress: onDownload },
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
  return estimatorOf(modelType, join(folder, "config.json")).open(folder, { onLoad });
}

/** Where a repository keeps a depth model next to its own components; null if it has none. */
function depthModelIn(folder: string): string | null {
  const own = estimators.map(({ modelType }) => join(folder, modelType));
  return own.find((candidate) => existsSync(join(candidate, "config.json"))) ?? null;
}

/** @throws {ModelError} when there is no depth model where the options say. */
function findFolder({ depthModel, fluxFolder, revision }: OpenOptions): string {
  if (!depthModel) {
    const own = fluxFolder === undefined ? null : depthModelIn(fluxFolder);
    return own ?? resolveRepository(defaultEstimator.repository).folder;
  }
  const { folder } = resolveRepository(depthModel, { revision });
  if (existsSync(join(folder, "config.json"))) return folder;
  const own = depthModelIn(folder);
  if (own !== null) return own;
  throw new ModelError(
    folder,
    existsSync(join(folder, "model_index.json"))
      ? `this is a diffusion model without a depth model; name ${defaultEstimator.repository}, or ${bundledModel} for the small bundled one`
      : `this is not a depth model, because there is no config.json; name ${defaultEstimator.repository}`,
  );
}
