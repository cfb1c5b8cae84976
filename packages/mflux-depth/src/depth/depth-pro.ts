import { join } from "node:path";
import { array, type MxArray } from "@mflux-depth/mlx";
import { readConfig } from "../files/json.js";
import { configFile } from "../files/repository-layout.js";
import { interpolate } from "../images/resample.js";
import type { DecodedImage, FloatImage } from "../images/types.js";
import {
  DepthPro,
  type DepthProConfig,
  depthProBytes,
  depthProConfig,
  depthProKey,
  inputSize,
} from "../models/depth-pro/index.js";
import { sensitiveLayer } from "../models/dinov2.js";
import { openCheckpoint } from "../weights/checkpoint.js";
import type { Component, HeldSize } from "../weights/component.js";
import { depthPro } from "./descriptions.js";
import type { EstimateOptions, EstimatorLoadOptions, OpenEstimator } from "./estimator.js";
import { type ModelOutput, PhotoEstimator } from "./photo-estimator.js";
import { type Normalization, PreprocessorReader } from "./preprocessor.js";

/** Opens Depth Pro: metric depth, with the field of view if the checkpoint has that head. */
export const openDepthPro: OpenEstimator = (folder, options) => new DepthProEstimator(folder, options);

class DepthProEstimator extends PhotoEstimator {
  readonly modelType = depthPro.modelType;
  readonly name = depthPro.name;
  readonly folder: string;
  protected readonly seesFieldOfView: boolean;
  readonly #config: DepthProConfig;
  readonly #input: InputConfig;
  /** The network without the field-of-view head. */
  readonly #withoutHead: Component<DepthPro>;
  #loaded: Component<DepthPro> | null = null;

  constructor(folder: string, options: EstimatorLoadOptions) {
    super(options);
    const config = depthProConfig(readConfig(folder, configFile), join(folder, configFile));
    this.folder = folder;
    this.seesFieldOfView = config.useFovModel;
    this.#config = config;
    this.#input = readInputConfig(folder, config);
    this.#withoutHead = this.#build(false);
    openCheckpoint(folder);
  }

  protected async predict(
    photo: DecodedImage,
    { fieldOfView, signal, onProgress }: Required<EstimateOptions>,
  ): Promise<ModelOutput> {
    const model = await this.#model(fieldOfView, signal);
    using pixels = toPixels(photo, this.#input);
    const output = await model.forward(pixels, { signal, onProgress });
    using depth = output.depth;
    const [, height, width] = depth.shape as [number, number, number];
    return {
      prediction: {
        data: depth.toTypedArray() as Float32Array,
        width,
        height,
        channels: 1,
        quantity: "inverse-depth",
        scale: "canonical",
      },
      fieldOfView: output.fov ?? undefined,
    };
  }

  free(): void {
    this.#loaded?.free();
    this.#loaded = null;
  }

  size(): HeldSize {
    return this.#withoutHead.size();
  }

  protected networkBytes(): number {
    return depthProBytes(this.#config);
  }

  /** Loads the model, with the field-of-view head only on request: it is a third of the weights. */
  #model(fieldOfView: boolean, signal: AbortSignal | undefined): Promise<DepthPro> {
    if (fieldOfView && this.#loaded === this.#withoutHead) this.free();
    this.#loaded ??= fieldOfView ? this.#build(true) : this.#withoutHead;
    return this.#loaded.get(signal);
  }

  #build(fieldOfView: boolean): Component<DepthPro> {
    const config = { ...this.#config, useFovModel: fieldOfView };
    return this.component({
      build: () => new DepthPro(config),
      rename: depthProKey(config),
      exact: sensitiveLayer,
    });
  }
}

// ---------------------------------------------------------------- input

/** How a photo becomes the model's input. */
interface InputConfig extends Normalization {
  /** Side of the square that the photo is stretched to, in pixels. */
  readonly side: number;
}

/**
 * Reads `preprocessor_config.json`, if there is one.
 * @throws {ModelError} when it requests preprocessing that Depth Pro does not have.
 */
function readInputConfig(folder: string, config: DepthProConfig): InputConfig {
  const reader = new PreprocessorReader(folder);
  const smallest = inputSize(config);
  const { width, height } = reader.size({ width: smallest, height: smallest });
  if (width !== height || width < smallest)
    reader.wrong("size", `a square of ${smallest} or more, as the config's patches need`);
  reader.resampling("bilinear");
  return { side: width, ...reader.normalization({ mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] }) };
}

/**
 * Normalizes a photo, then stretches it to a square: bilinear, with half-pixel centres, without antialiasing
 * (transformers: models/depth_pro/image_processing_depth_pro_fast.py).
 * @param photo three channels
 * @returns `[side, side, 3]`, −1 to 1
 */
export function preprocess(photo: FloatImage, { side, mean, deviation }: InputConfig): Float32Array {
  // Each value as it is read: a normalized copy of a large photo would take as much memory as the photo.
  const normalized = (value: number, channel: number): number =>
    Math.fround((value - mean[channel]!) / deviation[channel]!);
  return interpolate(photo, side, side, normalized).data;
}

/** The photo as the model takes it, `[1, side, side, 3]`. */
const toPixels = (photo: FloatImage, input: InputConfig): MxArray =>
  array(preprocess(photo, input), { shape: [1, input.side, input.side, 3] });
