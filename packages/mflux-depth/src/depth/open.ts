import { existsSync } from "node:fs";
import { join } from "node:path";
import { setDefaultDevice } from "@mflux-depth/mlx";
import { requireDevice } from "../device.js";
import { aboutOption, ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { configFile, modelIndexFile } from "../files/repository-layout.js";
import { obtainRepository } from "../hub/obtain.js";
import { bundledModel, resolveRepository } from "../hub/repository.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { DeviceName } from "../options/index.js";
import type { DepthEstimator, EstimatorLoadOptions } from "./estimator.js";
import type { EstimatorOptions } from "./options.js";
import { estimatorPrecision } from "./precision.js";
import { openerOf } from "./registry.js";
import { estimatorIn, estimatorKind } from "./repository.js";

export interface OpenEstimatorOptions
  extends EstimatorOptions,
    Pick<EstimatorLoadOptions, "cacheLimit" | "onLoad"> {
  /** The folder of the image model in use. If it includes an estimator, that is the default. */
  readonly modelFolder?: string | undefined;
  /** Where to compute; defaults to the process's device. */
  readonly device?: DeviceName | undefined;
}

export interface ObtainEstimatorOptions extends OpenEstimatorOptions {
  /** Use local files only. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives the progress of the download. */
  readonly onDownload?: ((progress: DownloadProgress) => void) | undefined;
}

/**
 * Downloads the missing files of a depth estimator, then opens it like {@link openEstimator}.
 * @throws {OptionError} when the device is not available.
 * @throws {ModelError} when it cannot be downloaded, is of an unknown type, or has no weights.
 * @throws the signal's reason when it is aborted.
 */
export async function obtainEstimator(options: ObtainEstimatorOptions = {}): Promise<DepthEstimator> {
  const { depthModel, modelFolder, offline, signal, onDownload } = options;
  if (!depthModel && modelFolder !== undefined && estimatorIn(modelFolder) !== null)
    return openEstimator(options);
  const { folder } = await obtainRepository(
    { model: depthModel || defaultDepthModel },
    { kind: estimatorKind, offline, signal, onProgress: onDownload },
  ).catch(aboutOption("depthModel"));
  return openEstimator({ ...options, depthModel: folder }).catch(aboutOption("depthModel"));
}

/**
 * Opens a depth estimator that is on this machine. Reads its configs, but no weights.
 * @throws {OptionError} when the device is not available, or lacks 8-bit products that are asked for.
 * @throws {ModelError} when it is missing, is of an unknown type, or has no weights.
 */
export async function openEstimator(options: OpenEstimatorOptions = {}): Promise<DepthEstimator> {
  const { device, cacheLimit, onLoad } = options;
  if (device !== undefined) {
    requireDevice(device);
    setDefaultDevice(device);
  }
  const precision = estimatorPrecision(options);
  const folder = findFolder(options);
  const { model_type: modelType } = readConfig(folder, configFile);
  const open = await openerOf(modelType, join(folder, configFile));
  return open(folder, { ...precision, cacheLimit, onLoad });
}

/** @throws {ModelError} if the given location has no depth estimator. */
function findFolder({ depthModel, modelFolder }: OpenEstimatorOptions): string {
  if (!depthModel) {
    const own = modelFolder === undefined ? null : estimatorIn(modelFolder);
    return own ?? resolveRepository(defaultDepthModel).folder;
  }
  const { folder } = resolveRepository(depthModel);
  if (existsSync(join(folder, configFile))) return folder;
  const own = estimatorIn(folder);
  if (own !== null) return own;
  throw new ModelError(
    folder,
    existsSync(join(folder, modelIndexFile))
      ? "this diffusion model contains no depth estimator"
      : `this is not a depth estimator: there is no ${configFile}`,
    {
      details: {
        remedies: [
          { kind: "set-option", option: "depthModel", value: defaultDepthModel },
          {
            kind: "set-option",
            option: "depthModel",
            value: bundledModel,
            purpose: "use the small bundled estimator",
          },
        ],
      },
    },
  );
}
