import { defaultDevice, memory } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import { ModelError } from "../errors.js";
import { readPhoto } from "../images/decode.js";
import type { DecodedImage } from "../images/types.js";
import { Listener } from "../listener.js";
import { type BufferCache, bufferCacheFor } from "../memory/buffer-cache.js";
import { useInt8Products } from "../models/int8-products.js";
import type { ImageInput } from "../options/index.js";
import { Component, type HeldSize } from "../weights/component.js";
import { DepthEstimate } from "./estimate.js";
import type { DepthEstimator, EstimateOptions, EstimatorLoadOptions } from "./estimator.js";
import { exifFocalLength } from "./focal-length.js";
import type { DepthPrediction } from "./prediction.js";

/** A model's output for a photo. */
export interface ModelOutput {
  readonly prediction: DepthPrediction;
  /** Horizontal, in degrees. */
  readonly fieldOfView: number | undefined;
}

/** How to make a network from the weights in a folder. */
export interface NetworkOptions<M extends Module> {
  /** Makes the network, without weights. */
  readonly build: () => M;
  /** The network's name for a tensor in files; null for a tensor that it does not use. */
  readonly rename: (key: string) => string | null;
  /** Matches the paths of layers whose inputs are never rounded, because the maps would suffer. */
  readonly exact?: RegExp;
}

/** Shared by all estimators: reading photo and weights, remembering the last estimate, checking the numbers. */
export abstract class PhotoEstimator implements DepthEstimator {
  abstract readonly modelType: string;
  abstract readonly name: string;
  abstract readonly folder: string;
  /** Whether the model can estimate the field of view. */
  protected abstract readonly seesFieldOfView: boolean;
  readonly #options: EstimatorLoadOptions;
  #last: { readonly key: string; readonly estimate: DepthEstimate } | null = null;

  constructor(options: EstimatorLoadOptions = {}) {
    this.#options = options;
  }

  /** Runs the model; loads its weights first if necessary. Aborts with the signal's reason. */
  protected abstract predict(photo: DecodedImage, options: Required<EstimateOptions>): Promise<ModelOutput>;
  abstract free(): void;
  abstract size(): HeldSize;
  /** Estimates the bytes that the network takes in addition to its weights. */
  protected abstract networkBytes(): number;

  workingMemory(): number {
    const bytes = this.networkBytes();
    return bytes + Math.min(bytes, this.#bufferCache()?.estimating ?? 0);
  }

  async estimate(photo: ImageInput | DecodedImage, options: EstimateOptions = {}): Promise<DepthEstimate> {
    const listener = new Listener(options.onProgress);
    using job = listener.job(options.signal);
    const { signal } = job;
    const fieldOfView = (options.fieldOfView ?? true) && this.seesFieldOfView;
    const decoded = isDecoded(photo) ? photo : await readPhoto(photo, { signal });
    const key = decoded.sha256;
    if (this.#last?.key === key && (!fieldOfView || this.#last.estimate.fieldOfView !== undefined)) {
      listener.tell(1);
      signal.throwIfAborted();
      return this.#last.estimate;
    }
    signal.throwIfAborted();

    const output = await this.#run(decoded, { fieldOfView, signal, onProgress: listener.tell });
    signal.throwIfAborted();
    if (!output.prediction.data.every(Number.isFinite))
      throw new ModelError(
        this.folder,
        `the depth of ${decoded.source} has values that are not finite; the weights may be damaged`,
      );
    const estimate = new DepthEstimate({ source: decoded.source, ...decoded.original }, output.prediction, {
      fieldOfView: output.fieldOfView,
      exifFocalLength: exifFocalLength(decoded),
    });
    this.#last = { key, estimate };
    return estimate;
  }

  /** Runs the model. Freed buffers are kept from layer to layer, and released at the end. */
  async #run(photo: DecodedImage, options: Required<EstimateOptions>): Promise<ModelOutput> {
    const bufferCache = this.#bufferCache();
    using _cache = bufferCache
      ? memory.keepBuffers(bufferCache.estimating)
      : { [Symbol.dispose]: memory.clearCache };
    return await this.predict(photo, options);
  }

  #bufferCache(): BufferCache | null {
    return bufferCacheFor(defaultDevice(), this.#options.cacheLimit);
  }

  /** A component with the weights in the folder, held and multiplied as the options say. */
  protected component<M extends Module>({ build, rename, exact }: NetworkOptions<M>): Component<M> {
    const { bits = null, int8 = false, onLoad } = this.#options;
    const bufferCache = this.#bufferCache();
    return new Component({
      folder: this.folder,
      name: this.modelType,
      build: () => (int8 ? useInt8Products(build(), exact) : build()),
      rename,
      dtype: "float32",
      bits,
      // Weights are read while an estimate keeps buffers.
      bufferCache: bufferCache && { quantizing: bufferCache.estimating },
      onProgress: onLoad,
    });
  }

  [Symbol.dispose](): void {
    this.free();
  }
}

const isDecoded = (photo: ImageInput | DecodedImage): photo is DecodedImage =>
  typeof photo === "object" && "sha256" in photo;
