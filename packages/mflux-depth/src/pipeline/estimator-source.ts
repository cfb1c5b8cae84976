import type { DepthEstimator } from "../depth/estimator.js";
import { obtainEstimator } from "../depth/open.js";
import { estimatorIn } from "../depth/repository.js";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import type { Repository } from "../hub/repository.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { LoadProgress } from "../weights/component.js";

export interface EstimatorSourceOptions {
  /** The model in use. Its folder may hold a depth estimator. */
  readonly model: Repository;
  readonly depthModel: string | undefined;
  readonly depthQuantize: 8 | "none" | undefined;
  readonly depthInt8: boolean | undefined;
  /** The user's limit for MLX's cache of freed buffers, in bytes. */
  readonly cacheLimit: number | undefined;
  readonly offline: boolean;
  readonly onLoad: (progress: LoadProgress) => void;
  readonly onDownload: ((progress: DownloadProgress) => void) | undefined;
}

/** Finds the depth estimator when a photo first needs it, and keeps it for later photos. */
export class EstimatorSource {
  readonly #options: EstimatorSourceOptions;
  #estimator: DepthEstimator | null = null;

  constructor(options: EstimatorSourceOptions) {
    this.#options = options;
  }

  /** The name of the estimator's repository: the requested one, the model's if it includes one, or the default. */
  get name(): string {
    const { model, depthModel } = this.#options;
    return depthModel ?? (estimatorIn(model.folder) === null ? defaultDepthModel : model.name);
  }

  /**
   * Finds the estimator, and downloads missing files. If its folder has been deleted, the search starts again.
   * @throws {ModelError} when there is none, or it cannot be downloaded.
   */
  async find(signal: AbortSignal, { offline } = { offline: this.#options.offline }): Promise<DepthEstimator> {
    const { model, depthModel, depthQuantize, depthInt8, cacheLimit, onLoad, onDownload } = this.#options;
    if (this.#estimator && !isFolder(this.#estimator.folder)) this.#estimator = null;
    this.#estimator ??= await obtainEstimator({
      depthModel,
      depthQuantize,
      depthInt8,
      cacheLimit,
      modelFolder: model.folder,
      offline,
      signal,
      onLoad,
      onDownload,
    });
    return this.#estimator;
  }

  /** Finds the estimator if it is complete on this machine; null if it needs a download. */
  async findHere(signal: AbortSignal): Promise<DepthEstimator | null> {
    try {
      return await this.find(signal, { offline: true });
    } catch (error) {
      if (error instanceof ModelError) return null;
      throw error;
    }
  }

  /** Frees the estimator's weights. */
  free(): void {
    this.#estimator?.free();
  }
}
