/*
 * Where a generation's depth comes from: the map that is given, or Depth Pro on the photo. When both pictures are given,
 * the one is held against the other.
 */

import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator } from "../depth/estimator.js";
import { obtainEstimator } from "../depth/open.js";
import { polarityWarning } from "../depth/polarity.js";
import { ImageError, ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import type { DownloadProgress } from "../hub/obtain.js";
import { defaultDepthModel, type Repository } from "../hub/repository.js";
import { lanczos, resize } from "../images/resample.js";
import type { DecodedImage, FloatImage, Raster } from "../images/types.js";
import type { LoadProgress } from "../weights/component.js";
import type { GenerationEvent, Run } from "./generation.js";

/** Decoded pictures: a map, or a photo to infer one from; a photo to start from. */
export interface Pictures {
  readonly map: DecodedImage | null;
  readonly photo: DecodedImage | null;
}

export interface DepthSourceOptions {
  /** The FLUX model in use, which may bring a Depth Pro of its own. */
  readonly model: Repository;
  readonly depthModel: string | undefined;
  readonly offline: boolean;
  readonly onLoad: (progress: LoadProgress) => void;
  readonly onDownload: ((progress: DownloadProgress) => void) | undefined;
}

export class DepthSource {
  readonly #options: DepthSourceOptions;
  #estimator: DepthEstimator | null = null;

  constructor(options: DepthSourceOptions) {
    this.#options = options;
  }

  /** Depth Pro, once it has been found. */
  get estimator(): DepthEstimator | null {
    return this.#estimator;
  }

  /** What the model is called: as it was asked for, or as what brings it. */
  get name(): string {
    const { model, depthModel } = this.#options;
    const bundled = this.#estimator?.folder.startsWith(model.folder);
    return depthModel ?? (bundled ? model.name : defaultDepthModel);
  }

  /**
   * Depth Pro, found, and downloaded if need be, for the first photo, and again when its folder has gone since.
   * @throws {ModelError} when it cannot be had.
   */
  async find(signal: AbortSignal, { offline } = { offline: this.#options.offline }): Promise<DepthEstimator> {
    const { model, depthModel, onLoad, onDownload } = this.#options;
    if (this.#estimator && !isFolder(this.#estimator.folder)) this.#estimator = null;
    this.#estimator ??= await obtainEstimator({
      depthModel,
      fluxFolder: model.folder,
      offline,
      signal,
      onLoad,
      onDownload,
    });
    return this.#estimator;
  }

  /** Releases the weights of Depth Pro. */
  free(): void {
    this.#estimator?.free();
  }

  /**
   * The map at the picture's size: one channel, near is white.
   * @param fits whether Depth Pro fits into memory, asked where it would be loaded for a comparison alone.
   */
  async *map(
    { map, photo }: Pictures,
    run: Run,
    fits: (estimator: DepthEstimator) => boolean,
  ): AsyncGenerator<GenerationEvent, FloatImage, void> {
    const { width, height, trustDepth } = run.request;
    if (!map) {
      const estimate = yield* this.#estimate(await this.find(run.signal), photo!, run);
      return estimate.map(width, height);
    }
    if (!trustDepth) yield* this.#checkPolarity(map, photo, run, fits);
    const resized = resize(map, width, height, lanczos);
    return { ...resized, data: resized.data.map((value) => Math.min(Math.max(value, 0), 1)) };
  }

  async *#estimate(
    estimator: DepthEstimator,
    photo: DecodedImage,
    { clock, signal }: Run,
  ): AsyncGenerator<GenerationEvent, DepthEstimate, void> {
    yield clock.start("depth");
    const estimate = await estimator.estimate(photo, { fieldOfView: false, signal });
    estimator.free();
    yield clock.end("depth");
    return estimate;
  }

  /**
   * Warns when a map seems to have far in white: beside the depth of the photo, where one is given too and Depth Pro
   * is at hand; else by the map's looks.
   */
  async *#checkPolarity(
    map: DecodedImage,
    photo: DecodedImage | null,
    run: Run,
    fits: (estimator: DepthEstimator) => boolean,
  ): AsyncGenerator<GenerationEvent, void, void> {
    const estimator = photo && (await this.#atHand(run.signal, fits));
    let inferred: Raster | undefined;
    if (estimator)
      try {
        inferred = (yield* this.#estimate(estimator, photo, run)).inverseDepth;
      } catch (error) {
        if (!(error instanceof ModelError || error instanceof ImageError)) throw error;
        run.warnings.add(`The depth map was not compared with the photo's depth: ${error.message}`);
      }
    const warning = polarityWarning(map, map.source, { inferred, exchanged: run.request.invertDepth });
    if (warning) run.warnings.add(warning);
  }

  /** Depth Pro, if nothing need be downloaded for it and it fits: a comparison is no reason for more. */
  async #atHand(
    signal: AbortSignal,
    fits: (estimator: DepthEstimator) => boolean,
  ): Promise<DepthEstimator | null> {
    try {
      const estimator = await this.find(signal, { offline: true });
      return fits(estimator) ? estimator : null;
    } catch (error) {
      if (error instanceof ModelError) return null;
      throw error;
    }
  }
}
