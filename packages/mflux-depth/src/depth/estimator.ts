import type { DecodedImage } from "../images/types.js";
import type { ImageInput } from "../options/index.js";
import type { HeldSize, LoadProgress } from "../weights/component.js";
import type { DepthEstimate } from "./estimate.js";

export interface EstimateOptions {
  /** Estimate the field of view too, if the model can (default true). Only distances in metres may need it. */
  readonly fieldOfView?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Receives the fraction done, 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** Estimates depth from photos. Weights are read by the first estimate and stay until they are freed. */
export interface DepthEstimator extends Disposable {
  /** The `model_type` of its config. */
  readonly modelType: string;
  /** The model's name: "Depth Pro". */
  readonly name: string;
  /** The folder of the config and the weights. */
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
   * Estimates the memory of the weights for a depth map from the headers of their files.
   * @throws {ModelError} when they are missing or damaged.
   */
  size(): HeldSize;
  /** Estimates the bytes that an estimate takes in addition to the weights. */
  workingMemory(): number;
}

export interface EstimatorLoadOptions {
  /** Bits to quantize matrices to (default null: they stay in float32). */
  readonly bits?: 8 | null | undefined;
  /** Whether most quantized matrices are multiplied with inputs rounded to 8 bits (default false). */
  readonly int8?: boolean | undefined;
  /** The most memory that MLX keeps in freed buffers, in bytes (by default, it depends on the machine's memory). */
  readonly cacheLimit?: number | undefined;
  /** Receives progress while weights are read. */
  readonly onLoad?: ((progress: LoadProgress) => void) | undefined;
}

/**
 * Opens a depth estimator's folder: reads the configs and checks that there are weights, without reading them.
 * @throws {ModelError} when a config is invalid, or weights are missing.
 */
export type OpenEstimator = (folder: string, options: EstimatorLoadOptions) => DepthEstimator;
