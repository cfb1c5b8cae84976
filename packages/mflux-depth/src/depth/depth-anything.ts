import { join } from "node:path";
import { array } from "@mflux-depth/mlx";
import { readConfig } from "../files/json.js";
import { configFile } from "../files/repository-layout.js";
import { bicubic } from "../images/resample.js";
import { resizeInSlices } from "../images/resample-in-slices.js";
import type { DecodedImage, FloatImage } from "../images/types.js";
import {
  DepthAnything,
  type DepthAnythingConfig,
  depthAnythingBytes,
  depthAnythingConfig,
  depthAnythingKey,
} from "../models/depth-anything/index.js";
import { sensitiveLayer } from "../models/dinov2.js";
import { openCheckpoint } from "../weights/checkpoint.js";
import type { Component, HeldSize } from "../weights/component.js";
import { depthAnything } from "./descriptions.js";
import type { EstimateOptions, EstimatorLoadOptions, OpenEstimator } from "./estimator.js";
import { type ModelOutput, PhotoEstimator } from "./photo-estimator.js";
import type { PredictionMeaning } from "./prediction.js";
import { type Normalization, PreprocessorReader } from "./preprocessor.js";

/** Opens Depth Anything V2: relative inverse depth, or distances in metres if the checkpoint is metric. */
export const openDepthAnything: OpenEstimator = (folder, options) =>
  new DepthAnythingEstimator(folder, options);

class DepthAnythingEstimator extends PhotoEstimator {
  readonly modelType = depthAnything.modelType;
  readonly name = depthAnything.name;
  readonly folder: string;
  protected readonly seesFieldOfView = false;
  readonly #config: DepthAnythingConfig;
  readonly #input: InputConfig;
  readonly #component: Component<DepthAnything>;

  constructor(folder: string, options: EstimatorLoadOptions) {
    super(options);
    const config = depthAnythingConfig(readConfig(folder, configFile), join(folder, configFile));
    this.folder = folder;
    this.#config = config;
    this.#input = readInputConfig(folder, config);
    openCheckpoint(folder);
    this.#component = this.component({
      build: () => new DepthAnything(config),
      rename: depthAnythingKey,
      exact: sensitiveLayer,
    });
  }

  protected async predict(
    photo: DecodedImage,
    { signal, onProgress }: Required<EstimateOptions>,
  ): Promise<ModelOutput> {
    const model = await this.#component.get(signal);
    const { data, width, height } = await preprocess(photo, this.#input, signal);
    using pixels = array(data, { shape: [1, height, width, 3] });
    using depth = await model.forward(pixels, { signal, onProgress });
    return {
      prediction: {
        data: depth.toTypedArray() as Float32Array,
        width,
        height,
        channels: 1,
        ...meanings[this.#config.depthEstimationType],
      },
      fieldOfView: undefined,
    };
  }

  free(): void {
    this.#component.free();
  }

  size(): HeldSize {
    return this.#component.size();
  }

  protected networkBytes(): number {
    const { width, height } = this.#input.size;
    return depthAnythingBytes(this.#config, longestSide * height, width);
  }
}

const meanings: Readonly<Record<DepthAnythingConfig["depthEstimationType"], PredictionMeaning>> = {
  relative: { quantity: "inverse-depth", scale: "relative" },
  metric: { quantity: "depth", scale: "metric" },
};

// ---------------------------------------------------------------- input

/** How a photo becomes the model's input. */
interface InputConfig extends Normalization {
  /** The size that one of the sides gets, or both, in pixels. */
  readonly size: { readonly width: number; readonly height: number };
  readonly keepAspectRatio: boolean;
  /** Both sides are multiples of this. */
  readonly multiple: number;
}

/** A photo's longer side is at most this many times as long as the configured one; longer photos are stretched. */
const longestSide = 4;

/**
 * Reads `preprocessor_config.json`, if there is one.
 * @throws {ModelError} when it requests preprocessing that Depth Anything does not have.
 */
function readInputConfig(folder: string, { patchSize }: DepthAnythingConfig): InputConfig {
  const reader = new PreprocessorReader(folder);
  reader.resampling("bicubic");
  if (reader.flag("do_pad", false)) reader.wrong("do_pad", "false");
  const multiple = reader.count("ensure_multiple_of", patchSize);
  if (multiple % patchSize !== 0)
    reader.wrong("ensure_multiple_of", `a multiple of ${patchSize}, the config's patch_size`);
  return {
    size: reader.size({ width: 518, height: 518 }),
    keepAspectRatio: reader.flag("keep_aspect_ratio", true),
    multiple,
    ...reader.normalization({ mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] }),
  };
}

/**
 * The size of the model's input for a photo. Both sides are scaled by the factor that is nearer to 1 of the two that give
 * the configured width and height (transformers: models/dpt/image_processing_dpt.py).
 */
export function inputSizeFor(
  photo: { readonly width: number; readonly height: number },
  { size, keepAspectRatio, multiple }: Omit<InputConfig, keyof Normalization>,
): { width: number; height: number } {
  const [across, down] = [size.width / photo.width, size.height / photo.height];
  const nearer = Math.abs(1 - across) < Math.abs(1 - down) ? across : down;
  const side = (length: number, own: number, wanted: number): number => {
    const scaled = Math.min(length * (keepAspectRatio ? nearer : own), longestSide * wanted);
    return Math.max(multiple, multiple * roundHalfToEven(scaled / multiple));
  };
  return {
    width: side(photo.width, across, size.width),
    height: side(photo.height, down, size.height),
  };
}

/** Like Python's `round`. */
function roundHalfToEven(value: number): number {
  const low = Math.floor(value);
  if (value - low === 0.5) return low % 2 === 0 ? low : low + 1;
  return Math.round(value);
}

/**
 * Resizes a photo (bicubic, antialiased, on floats), then normalizes it.
 * @param photo three channels
 * @throws the signal's reason when it is aborted.
 */
export async function preprocess(
  photo: FloatImage,
  input: InputConfig,
  signal?: AbortSignal,
): Promise<FloatImage> {
  const { mean, deviation } = input;
  const { width, height } = inputSizeFor(photo, input);
  const resized = await resizeInSlices(photo, width, height, bicubic, signal);
  const data = resized.data.map((value, i) => {
    // The filter's negative lobes leave the range.
    const inside = Math.min(Math.max(value, 0), 1);
    return (inside - mean[i % 3]!) / deviation[i % 3]!;
  });
  return { data, width, height, channels: 3 };
}
