import type { DecodedImage } from "../images/types.js";
import type { ImageInput } from "../options/index.js";
import type { HeldSize, LoadProgress } from "../weights/component.js";
import type { DepthEstimate } from "./estimate.js";

export interface EstimateOptions {
  /**
   * Estimate the field of view too, if the model can (default true). Distances in metres may need it, maps never do.
   */
  readonly fieldOfView?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told the share of the work that is done, 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** Estimates depth from photos. Weights are read by the first estimate and stay until they are freed. */
export interface DepthEstimator extends Disposable {
  /** The `model_type` of its config. */
  readonly modelType: string;
  /** What people call the model: "Depth Pro". */
  readonly name: string;
  /** Where config and weights are. */
  readonly folder: string;
  /**
   * Estimates the depth of a photo. The last estimate is kept: the same photo again costs nothing.
   * @throws {ImageError} when the photo cannot be read.
   * @throws {ModelError} when the weights do not load, or give numbers that are not finite.
   * @throws the signal's reason within milliseconds after it is aborted.
   */
  estimate(photo: ImageInput | DecodedImage, options?: EstimateOptions): Promise<DepthEstimate>;
  /** Releases the weights; the next estimate reads them again. The last estimate stays. */
  free(): void;
  /**
   * Tells what the weights for a depth map will take, from the headers of their files.
   * @throws {ModelError} when they are missing or damaged.
   */
  size(): HeldSize;
  /** Roughly the bytes that an estimate takes in addition to the weights. */
  workingMemory(): number;
}

export interface EstimatorLoadOptions {
  /** Told about the reading of weights. */
  readonly onLoad?: ((progress: LoadProgress) => void) | undefined;
}

/**
 * Opens a depth model's folder: reads the configs and checks that there are weights, without reading them.
 * @throws {ModelError} when a config is invalid, or weights are missing.
 */
export type OpenEstimator = (folder: string, options: EstimatorLoadOptions) => DepthEstimator;
