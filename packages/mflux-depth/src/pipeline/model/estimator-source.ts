import type { DepthEstimator } from "../../depth/estimator.js";
import { type ObtainEstimatorOptions, obtainEstimator } from "../../depth/open.js";
import { estimatorIn } from "../../depth/repository.js";
import { ModelError } from "../../errors.js";
import { isFolder } from "../../files/folders.js";
import type { Repository } from "../../hub/repository.js";
import { defaultDepthModel } from "../../options/defaults.js";

/** Finds the depth estimator when a photo first needs it, and keeps it for later photos. */
export class EstimatorSource {
  /** The model in use. Its folder may hold a depth estimator. */
  readonly #model: Repository;
  readonly #options: ObtainEstimatorOptions;
  #estimator: DepthEstimator | null = null;

  constructor(model: Repository, options: ObtainEstimatorOptions) {
    this.#model = model;
    this.#options = options;
  }

  /** The name of the estimator's repository: the requested one, the model's if it includes one, or the default. */
  get name(): string {
    const { name, folder } = this.#model;
    return this.#options.depthModel ?? (estimatorIn(folder) === null ? defaultDepthModel : name);
  }

  /**
   * Finds the estimator, and downloads missing files. If its folder has been deleted, the search starts again.
   * @throws {ModelError} when there is none, or it cannot be downloaded.
   */
  async find(signal: AbortSignal, { offline } = { offline: this.#options.offline }): Promise<DepthEstimator> {
    if (this.#estimator && !isFolder(this.#estimator.folder)) this.#estimator = null;
    this.#estimator ??= await obtainEstimator({
      ...this.#options,
      modelFolder: this.#model.folder,
      offline,
      signal,
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
