import type { DepthEstimator } from "../depth/estimator.js";
import { compareDepth } from "../depth/fidelity.js";
import { judgeOfRequest } from "../depth/judge.js";
import { obtainEstimator } from "../depth/open.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { readPhoto } from "../images/decode.js";
import type { PictureFidelity } from "../images/metadata.js";
import type { GenerateRequest } from "../options/index.js";
import type { LoadProgress } from "../weights/component.js";
import { hasRoom, requireRoomAlone } from "./estimate-room.js";
import type { FluxDepth } from "./flux-depth.js";
import { cacheLimitOf } from "./model/device.js";
import { publicName } from "./parameters.js";
import { GenerationResult } from "./result.js";

export interface JudgeOptions {
  /** The judging depth estimator; by default not the one that made the map. */
  readonly depthModel?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives the progress of downloads and of reading weights. */
  readonly onProgress?: ((progress: LoadProgress | DownloadProgress) => void) | undefined;
}

/** Scores generated images against the depth maps that they were made from. */
export class Judge implements Disposable {
  /** The repository or folder of the estimator. */
  readonly depthModel: string;
  readonly #estimator: DepthEstimator;
  /** The instance that made the images. */
  readonly #flux: FluxDepth;

  private constructor(depthModel: string, estimator: DepthEstimator, flux: FluxDepth) {
    this.depthModel = depthModel;
    this.#estimator = estimator;
    this.#flux = flux;
  }

  /**
   * Finds the estimator that judges the images of a request; downloads missing files unless the model is offline.
   * @throws {ModelError} when it is not found, or cannot be downloaded.
   * @throws {MemoryError} if this machine has too little memory for it, even with the model freed.
   */
  static async obtain(
    flux: FluxDepth,
    request: GenerateRequest,
    { depthModel: chosen, signal, onProgress }: JudgeOptions = {},
  ): Promise<Judge> {
    const { model, options } = flux;
    const depthModel =
      chosen ?? judgeOfRequest(request, { model: model.name, depthModel: options.depthModel });
    const estimator = await obtainEstimator({
      depthModel,
      cacheLimit: cacheLimitOf(options),
      offline: options.offline,
      signal,
      onLoad: onProgress,
      onDownload: onProgress,
    });
    if (!options.force) requireRoomAlone(estimator, depthModel);
    return new Judge(depthModel, estimator, flux);
  }

  /**
   * Scores an image, on the device that made it.
   * @throws the signal's reason when it is aborted.
   */
  async score(
    { image, depthMap }: GenerationResult,
    signal?: AbortSignal | undefined,
  ): Promise<PictureFidelity> {
    const photo = await readPhoto({ ...image, channels: 3 }, { signal });
    // The next image needs the memory that the model gives up for this score.
    const takesTurns = !hasRoom(this.#estimator);
    const { inverseDepth } = await this.#flux.estimateWith(this.#estimator, photo, {
      fieldOfView: false,
      signal,
    });
    if (takesTurns) this.#estimator.free();
    const { rmse, correlation, absRel, edgeF1 } = compareDepth(
      { ...depthMap, channels: 1 },
      inverseDepth,
      photo,
    );
    return { rmse, correlation, abs_rel: absRel, edge_f1: edgeF1, depth_model: publicName(this.depthModel) };
  }

  /** Frees the estimator's weights. */
  [Symbol.dispose](): void {
    this.#estimator[Symbol.dispose]();
  }
}

/** A copy of a result with a score in its parameters. */
export const withFidelity = (result: GenerationResult, fidelity: PictureFidelity): GenerationResult =>
  new GenerationResult({ ...result, metadata: { ...result.metadata, fidelity } });
