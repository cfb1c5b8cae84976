/*
 * Depth from a photo: the seam between pictures and Depth Pro.
 *
 * One estimator serves a whole session. `DepthEstimator.open` finds the model and checks its config, weights are read
 * by the first estimate and released by `free`. The last estimate is kept, so that several seeds of one photo
 * estimate once. For a generation:
 *
 *     const estimate = await estimator.estimate(photo, { fieldOfView: false, signal });
 *     const map = estimate.conditioningMap(width, height);        // goes where a user's map would go
 *     const warning = polarityWarning(usersMap, usersMap.source, { inferred: estimate.prediction });
 */

import { existsSync } from "node:fs";
import { extname, join } from "node:path";
import { array, isAvailable, type MxArray, memory, setDefaultDevice } from "@mflux-depth/mlx";
import exifReader from "exif-reader";
import { ImageError, ModelError, OptionError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { saveFile } from "../files/output.js";
import { obtainRepository } from "../hub/obtain.js";
import { bundledModel, resolveRepository } from "../hub/repository.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { type DecodedImage, encodeImage, formatOf, readPhoto } from "../images/image.js";
import { bilinear, interpolate, type Pixels, resize } from "../images/resample.js";
import {
  DepthPro,
  type DepthProConfig,
  depthProConfig,
  depthProKey,
  inputSize,
} from "../models/depth-pro.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { DeviceName, ImageInput } from "../options/index.js";
import { openCheckpoint } from "../weights/checkpoint.js";
import { Component, type HeldSize, type LoadProgress } from "../weights/component.js";
import { checkAdjustments, type MapAdjustments, normalizedMap, toColours, toLevels, toNpy } from "./map.js";
import { estimatorIn, estimatorKind } from "./repository.js";

export { type MapAdjustments, polarityWarning } from "./map.js";

export interface DepthEstimatorOptions {
  /** A repository or a folder with Depth Pro. */
  readonly depthModel?: string | null | undefined;
  /** The FLUX repository in use: one that carries a `depth_pro` folder, as the bundled one does, brings its own. */
  readonly fluxFolder?: string | undefined;
  readonly revision?: string | undefined;
  /** Where to compute; as it is set for the process when absent. */
  readonly device?: DeviceName | undefined;
  /** Told how the reading of weights goes on. */
  readonly onLoad?: ((progress: LoadProgress) => void) | undefined;
}

export interface ObtainDepthOptions extends DepthEstimatorOptions {
  /** Whether to use only what is on this machine. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told how a download goes on. */
  readonly onDownload?: ((progress: DownloadProgress) => void) | undefined;
}

export interface EstimateOptions {
  /** Whether to estimate the field of view too, where the model can: for metres. A map does not need it. */
  readonly fieldOfView?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** The share of the work that is done, 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** Depth Pro in a folder, its weights in memory only while they are needed. */
export class DepthEstimator {
  /** Where the weights are. */
  readonly folder: string;
  readonly config: DepthProConfig;
  readonly #input: InputConfig;
  readonly #options: DepthEstimatorOptions;
  #component: { part: Component<DepthPro>; fieldOfView: boolean } | null = null;
  #last: { key: string; estimate: DepthEstimate } | null = null;

  private constructor(
    folder: string,
    config: DepthProConfig,
    input: InputConfig,
    options: DepthEstimatorOptions,
  ) {
    this.folder = folder;
    this.config = config;
    this.#input = input;
    this.#options = options;
  }

  /**
   * As {@link DepthEstimator.open}, after downloading what is missing of a Hub repository.
   * @throws {OptionError} when there is no such device.
   * @throws {ModelError} when it cannot be downloaded, is another model, or has no weights.
   */
  static async obtain(options: ObtainDepthOptions = {}): Promise<DepthEstimator> {
    const { depthModel, fluxFolder, revision, offline, signal, onDownload } = options;
    if (!depthModel && fluxFolder !== undefined && estimatorIn(fluxFolder))
      return DepthEstimator.open(options);
    const { folder } = await obtainRepository(
      { model: depthModel || defaultDepthModel, revision },
      { kind: estimatorKind, offline, signal, onProgress: onDownload },
    );
    return DepthEstimator.open({ ...options, depthModel: folder });
  }

  /**
   * Finds the model and checks that it is Depth Pro with weights. None are read.
   * @throws {OptionError} when there is no such device.
   * @throws {ModelError} when it is not there, is another model, or has no weights.
   */
  static open(options: DepthEstimatorOptions = {}): DepthEstimator {
    const { device } = options;
    if (device !== undefined) {
      if (!isAvailable(device))
        throw new OptionError("device", `There is no ${device} here that MLX can use.`);
      setDefaultDevice(device);
    }
    const folder = findDepthModel(options);
    const config = depthProConfig(readConfig(folder, "config.json"), join(folder, "config.json"));
    const input = inputConfig(folder, config);
    openCheckpoint(folder);
    return new DepthEstimator(folder, config, input, options);
  }

  /**
   * Estimates the depth of a photo. The one before is kept: the same photo again costs nothing.
   * @throws {ImageError} when the photo cannot be read.
   * @throws {ModelError} when the weights do not load.
   * @throws the signal's reason when cancelled
   */
  async estimate(photo: ImageInput | DecodedImage, options: EstimateOptions = {}): Promise<DepthEstimate> {
    const { signal, onProgress } = options;
    const fieldOfView = (options.fieldOfView ?? true) && this.config.useFovModel;
    const decoded = isDecoded(photo) ? photo : await readPhoto(photo);
    const key = `${decoded.sha256} ${decoded.width} ${decoded.height}`;
    if (this.#last?.key === key && (!fieldOfView || this.#last.estimate.fieldOfView !== undefined)) {
      onProgress?.(1);
      return this.#last.estimate;
    }
    signal?.throwIfAborted();

    const model = await this.#use(fieldOfView, signal);
    using pixels = this.#preprocess(decoded);
    const { depth, fov } = await model.forward(pixels, { signal, onProgress });
    using held = depth;
    const [, height, width] = held.shape as [number, number, number];
    const data = held.toTypedArray() as Float32Array;
    memory.clearCache();
    if (!data.every(Number.isFinite))
      throw new ModelError(
        this.folder,
        `the depth of ${decoded.source} came out as no numbers; are the weights sound?`,
      );
    const estimate = new DepthEstimate(
      { source: decoded.source, width: decoded.width, height: decoded.height },
      { data, width, height, channels: 1 },
      { fieldOfView: fov ?? undefined, exifFocalLength: focalLengthOf(decoded) },
    );
    this.#last = { key, estimate };
    return estimate;
  }

  /** Releases the weights; the next estimate reads them again. The last estimate is kept. */
  free(): void {
    this.#component?.part.free();
    this.#component = null;
  }

  [Symbol.dispose](): void {
    this.free();
  }

  /** The model, with the field-of-view head only when that is asked for: it is a third of the weights. */
  #use(fieldOfView: boolean, signal: AbortSignal | undefined): Promise<DepthPro> {
    if (fieldOfView && this.#component?.fieldOfView === false) this.free();
    this.#component ??= { part: this.#part(fieldOfView), fieldOfView };
    return this.#component.part.get(signal);
  }

  #part(fieldOfView: boolean): Component<DepthPro> {
    const config = { ...this.config, useFovModel: fieldOfView };
    return new Component({
      folder: this.folder,
      name: "depth_pro",
      build: () => new DepthPro(config),
      rename: depthProKey(config),
      dtype: "float32",
      bits: null,
      onProgress: this.#options.onLoad,
    });
  }

  /**
   * What the weights that a map needs will take.
   * @throws {ModelError} when they are missing or damaged.
   */
  size(): HeldSize {
    return this.#part(false).size();
  }

  workingMemory(): number {
    return 4 * (inputSize(this.config) / 2) ** 2 * (4 * this.config.fusionHiddenSize) + 70e6;
  }

  /** `[1, side, side, 3]` as the model sees the photo. */
  #preprocess(photo: Pixels): MxArray {
    const { side } = this.#input;
    return array(preprocess(photo, this.#input), { shape: [1, side, side, 3] });
  }
}

/** What is known of a photo's depth. Near is large: values are canonical inverse depth, as the model gives it. */
export class DepthEstimate {
  /** The photo's file, or what it was given as. */
  readonly source: string;
  /** Of the photo, upright. */
  readonly width: number;
  readonly height: number;
  /** The model's output at its own size. */
  readonly prediction: Pixels;
  /** Of the prediction. */
  readonly range: { readonly min: number; readonly max: number };
  /** Horizontal, in degrees, as the model sees it; undefined when it was not asked or cannot. */
  readonly fieldOfView: number | undefined;
  /** In pixels of the photo: from EXIF, else from the field of view; undefined when neither is known. */
  readonly focalLength: number | undefined;
  readonly focalLengthFrom: "exif" | "model" | undefined;
  #data: Float32Array | null = null;

  constructor(
    photo: { source: string; width: number; height: number },
    prediction: Pixels,
    camera: { fieldOfView: number | undefined; exifFocalLength: number | undefined },
  ) {
    this.source = photo.source;
    this.width = photo.width;
    this.height = photo.height;
    this.prediction = prediction;
    this.range = extremes(prediction.data);
    this.fieldOfView = camera.fieldOfView;
    if (camera.exifFocalLength !== undefined) {
      this.focalLength = camera.exifFocalLength;
      this.focalLengthFrom = "exif";
    } else if (camera.fieldOfView !== undefined && camera.fieldOfView > 0 && camera.fieldOfView < 180) {
      this.focalLength = (0.5 * photo.width) / Math.tan((0.5 * camera.fieldOfView * Math.PI) / 180);
      this.focalLengthFrom = "model";
    }
  }

  /** Canonical inverse depth at the photo's size, row by row. */
  get data(): Float32Array {
    this.#data ??= resize(this.prediction, this.width, this.height, bilinear).data;
    return this.#data;
  }

  /** Distance in metres at the photo's size; undefined when the focal length is not known. */
  get metres(): Float32Array | undefined {
    const { focalLength, width } = this;
    if (focalLength === undefined) return undefined;
    return this.data.map((inverse) => 1 / Math.min(Math.max((inverse * width) / focalLength, 1e-4), 1e4));
  }

  /**
   * The map at a size (the photo's unless given), 0..1, near is 1.
   * @throws {ImageError} when the depth is the same everywhere.
   */
  map(width = this.width, height = this.height, adjustments: MapAdjustments = {}): Pixels {
    return normalizedMap(this.prediction, width, height, this.source, adjustments);
  }

  /**
   * The map for a generation, one channel of 0 to 255 at the target's size, near is white: what a user's map is after
   * reading and resizing.
   * @throws {ImageError} when the depth is the same everywhere.
   */
  conditioningMap(width: number, height: number): Pixels {
    const map = this.map(width, height);
    return { ...map, data: map.data.map((value) => value * 255) };
  }

  /**
   * Encodes the depth at the photo's size, see {@link DepthFileOptions}.
   * @throws {OptionError} for options that contradict each other.
   * @throws {ImageError} when the depth is the same everywhere.
   */
  async encode(options: DepthFileOptions & { format: DepthFormat }): Promise<Uint8Array> {
    checkFileOptions(options);
    const { format, bits = 8, colour = false, metres = false, ...adjustments } = options;
    const { width, height } = this;
    if (format === "npy") {
      if (!metres) return toNpy(this.data, width, height);
      const distances = this.metres;
      if (!distances)
        throw new ImageError(
          this.source,
          "its distances in metres are not known: EXIF has no focal length, and this model has no field-of-view head.",
        );
      return toNpy(distances, width, height);
    }
    const map = this.map(width, height, adjustments);
    if (colour) return encodeImage({ data: toColours(map), width, height, channels: 3 }, format);
    return encodeImage({ data: toLevels(map, bits), width, height, channels: 1 }, format);
  }

  /**
   * Writes the depth at the photo's size: a picture, or an array as `.npy`, by the extension.
   * @returns the path written.
   * @throws as {@link encode}
   * @throws {OutputError} when the file cannot be written.
   */
  async save(path: string, options: DepthFileOptions & { overwrite?: boolean } = {}): Promise<string> {
    const { overwrite = true, ...file } = options;
    const bytes = await this.encode({ ...file, format: depthFormatOf(path) });
    return saveFile(path, bytes, { overwrite });
  }
}

export type DepthFormat = "png" | "jpeg" | "webp" | "npy";

/** What a file of depth holds. */
export interface DepthFileOptions extends MapAdjustments {
  /** Levels of a grey PNG (default 8). */
  readonly bits?: 8 | 16;
  /** In colours, to look at. */
  readonly colour?: boolean;
  /** In an array: metres instead of canonical inverse depth. */
  readonly metres?: boolean;
}

/**
 * The format that a file name asks for.
 * @throws {OptionError} for an extension other than .png, .jpg, .jpeg, .webp and .npy.
 */
export function depthFormatOf(path: string): DepthFormat {
  const extension = extname(path).toLowerCase();
  if (extension === ".npy") return "npy";
  if ([".png", ".jpg", ".jpeg", ".webp"].includes(extension)) return formatOf(path);
  throw new OptionError(
    "output",
    `output must end in .png, .jpg, .jpeg, .webp or .npy, not ${JSON.stringify(path)}.`,
  );
}

/**
 * Refuses options that a format does not have.
 * @throws {OptionError}
 */
export function checkFileOptions(options: DepthFileOptions & { format: DepthFormat }): void {
  const { format, bits = 8, colour = false, metres = false, ...adjustments } = options;
  checkAdjustments(adjustments);
  if (bits !== 8 && bits !== 16) throw new OptionError("bits", `bits must be 8 or 16, not ${bits}.`);
  if (bits === 16 && (format !== "png" || colour))
    throw new OptionError("bits", `16 bits are for grey PNG files${colour ? ", not for colours" : ""}.`);
  if (format === "npy" && colour) throw new OptionError("colour", "An array (.npy) has no colours.");
  if (format !== "npy" && metres)
    throw new OptionError("metres", "Metres are for arrays: give the output the extension .npy.");
  const { near = 100, far = 0, gamma = 1, invert = false } = adjustments;
  if (format === "npy" && (near !== 100 || far !== 0 || gamma !== 1 || invert))
    throw new OptionError(
      "near",
      "An array (.npy) holds what the model says: near, far, gamma and invert are for pictures.",
    );
}

const isDecoded = (photo: ImageInput | DecodedImage): photo is DecodedImage =>
  typeof photo === "object" && "sha256" in photo;

function extremes(values: Float32Array): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

// ---------------------------------------------------------------- the model's files

/** The folder of Depth Pro that options ask for. */
function findDepthModel({ depthModel, fluxFolder, revision }: DepthEstimatorOptions): string {
  if (!depthModel) {
    const own = fluxFolder === undefined ? null : estimatorIn(fluxFolder);
    return own ?? resolveRepository(defaultDepthModel, { revision: undefined }).folder;
  }
  const { folder } = resolveRepository(depthModel, { revision });
  if (existsSync(join(folder, "config.json"))) return folder;
  const own = estimatorIn(folder);
  if (own) return own;
  if (existsSync(join(folder, "model_index.json")))
    throw new ModelError(
      folder,
      `this is a repository of a diffusion model, not of Depth Pro; name ${defaultDepthModel}, or ${bundledModel} for the bundled small one`,
    );
  throw new ModelError(
    folder,
    `there is no config.json, so this is not Depth Pro; name ${defaultDepthModel}`,
  );
}

/** How a photo becomes the model's input (`preprocessor_config.json`). */
export interface InputConfig {
  /** Of the square that the photo is stretched to. */
  readonly side: number;
  /** Subtracted from values of 0 to 255, for each channel. */
  readonly mean: readonly number[];
  /** What they are divided by then. */
  readonly deviation: readonly number[];
}

function inputConfig(folder: string, config: DepthProConfig): InputConfig {
  const file = "preprocessor_config.json";
  const json = existsSync(join(folder, file)) ? readConfig(folder, file) : {};
  const fail = (reason: string): never => {
    throw new ModelError(join(folder, file), reason);
  };
  const three = (key: string): number[] => {
    const value = json[key] ?? [0.5, 0.5, 0.5];
    return Array.isArray(value) && value.length === 3 && value.every((n) => typeof n === "number")
      ? value
      : fail(`"${key}" is ${JSON.stringify(value)}; three numbers expected`);
  };
  const { width, height } = (json.size ?? { width: inputSize(config), height: inputSize(config) }) as {
    width?: unknown;
    height?: unknown;
  };
  if (typeof width !== "number" || width !== height || !Number.isInteger(width) || width < inputSize(config))
    return fail(
      `"size" is ${JSON.stringify(json.size)}; a square of ${inputSize(config)} or more expected, as the config's patches need`,
    );
  // PIL's numbering; 2 is bilinear.
  if (json.resample !== undefined && json.resample !== 2)
    return fail(`"resample" is ${JSON.stringify(json.resample)}; only bilinear (2) is supported`);
  const scale = json.rescale_factor ?? 1 / 255;
  if (typeof scale !== "number" || !(scale > 0)) return fail(`"rescale_factor" is ${JSON.stringify(scale)}`);
  return {
    side: width,
    mean: three("image_mean").map((n) => n / scale),
    deviation: three("image_std").map((n) => n / scale),
  };
}

/**
 * A photo as the model takes it: normalized, then stretched to a square (bilinear, half-pixel centres, no
 * antialiasing; transformers: models/depth_pro/image_processing_depth_pro_fast.py).
 * @param photo three channels of 0 to 255
 * @returns `[side, side, 3]`, −1 to 1
 */
export function preprocess(photo: Pixels, { side, mean, deviation }: InputConfig): Float32Array {
  const data = photo.data.map((value, i) => (value - mean[i % 3]!) / deviation[i % 3]!);
  return interpolate({ ...photo, data }, side, side).data;
}

// ---------------------------------------------------------------- camera

/** Millimetres of a film picture's diagonal. */
const filmDiagonal = Math.hypot(36, 24);

/** EXIF's units of length in millimetres: inch, centimetre. */
const unitInMillimetres: Readonly<Record<number, number>> = { 2: 25.4, 3: 10 };

/**
 * The focal length that a photo's EXIF tells, in pixels of the photo: from the length that film would need for the
 * same view, or from the lens and the density of the sensor. Other lengths say nothing without the sensor's size.
 */
export function focalLengthOf({ exif, width, height }: DecodedImage): number | undefined {
  if (!exif) return undefined;
  try {
    const { Photo: tags } = exifReader(Buffer.from(exif));
    if (!tags) return undefined;
    const positive = (value: unknown): number | undefined =>
      typeof value === "number" && Number.isFinite(value) && value > 0 ? value : undefined;
    const onFilm = positive(tags.FocalLengthIn35mmFilm);
    if (onFilm !== undefined) return (onFilm * Math.hypot(width, height)) / filmDiagonal;
    const lens = positive(tags.FocalLength);
    const density = positive(tags.FocalPlaneXResolution);
    const unit = unitInMillimetres[positive(tags.FocalPlaneResolutionUnit) ?? 2];
    // The density is that of the picture as taken; this one may have been made smaller or turned since.
    const taken = Math.max(positive(tags.PixelXDimension) ?? 0, positive(tags.PixelYDimension) ?? 0);
    if (lens === undefined || density === undefined || unit === undefined || taken === 0) return undefined;
    return (((lens * density) / unit) * Math.max(width, height)) / taken;
  } catch {
    // A damaged block: as if there were none.
    return undefined;
  }
}
