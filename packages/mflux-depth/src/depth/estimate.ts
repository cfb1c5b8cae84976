import { untilAborted } from "../abort.js";
import { ImageError } from "../errors.js";
import { saveFile } from "../files/output.js";
import { encodeImage, toLevels } from "../images/encode.js";
import { extremesOf } from "../images/extremes.js";
import { toNpy } from "../images/npy.js";
import { bilinear, resize, type TakeRow } from "../images/resample.js";
import type { FloatImage, Raster } from "../images/types.js";
import { type MapAdjustments, normalizedMap, normalizedRows } from "./adjustments.js";
import { toColours } from "./colours.js";
import { checkFileOptions, type DepthFileOptions, type DepthFormat, depthFormatOf } from "./files.js";
import { focalLengthFromFieldOfView } from "./focal-length.js";
import { type DepthPrediction, inverseDepth, metresOf } from "./prediction.js";

/** The depth of a photo. */
export class DepthEstimate {
  /** The photo's path, or a label if it has none. */
  readonly source: string;
  /** The photo's size in pixels, after EXIF rotation. */
  readonly width: number;
  readonly height: number;
  /** The model's output at its own size, and what it means. */
  readonly prediction: DepthPrediction;
  /** Smallest and largest value of the prediction. */
  readonly range: { readonly min: number; readonly max: number };
  /** Horizontal, in degrees, estimated by the model; undefined if not requested or not supported. */
  readonly fieldOfView: number | undefined;
  /** In pixels of the photo: from EXIF, else from the field of view; undefined if neither is known. */
  readonly focalLength: number | undefined;
  readonly focalLengthFrom: "exif" | "model" | undefined;
  #data: Float32Array | null = null;

  constructor(
    photo: { readonly source: string; readonly width: number; readonly height: number },
    prediction: DepthPrediction,
    camera: { readonly fieldOfView: number | undefined; readonly exifFocalLength: number | undefined },
  ) {
    this.source = photo.source;
    this.width = photo.width;
    this.height = photo.height;
    this.prediction = prediction;
    this.range = extremesOf(prediction.data);
    this.fieldOfView = camera.fieldOfView;
    const seen =
      camera.fieldOfView === undefined
        ? undefined
        : focalLengthFromFieldOfView(camera.fieldOfView, photo.width);
    this.focalLength = camera.exifFocalLength ?? seen;
    this.focalLengthFrom =
      camera.exifFocalLength !== undefined ? "exif" : seen !== undefined ? "model" : undefined;
  }

  /** The prediction at the photo's size, row by row. */
  get data(): Float32Array {
    this.#data ??= resize(this.prediction, this.width, this.height, bilinear).data;
    return this.#data;
  }

  /** Inverse depth at the model's own size: near is large. */
  get inverseDepth(): Raster {
    return inverseDepth(this.prediction);
  }

  /**
   * Distances in metres at the photo's size; undefined if the prediction is relative or the required focal length is
   * unknown.
   */
  get metres(): Float32Array | undefined {
    const { data, prediction, focalLength, width } = this;
    return metresOf(data, prediction, focalLength === undefined ? undefined : focalLength / width);
  }

  /**
   * Makes a depth map at a size (the photo's unless given): one channel in [0, 1], near is 1.
   * @throws {OptionError} for an invalid adjustment.
   * @throws {ImageError} when the depth is the same everywhere.
   */
  map(width = this.width, height = this.height, adjustments: MapAdjustments = {}): FloatImage {
    return normalizedMap(this.inverseDepth, width, height, this.source, adjustments);
  }

  /**
   * Encodes the depth at the photo's size, see {@link DepthFileOptions}.
   * @throws {OptionError} for an invalid value, or options that contradict each other.
   * @throws {ImageError} when the depth is the same everywhere, or metres are requested and unavailable.
   * @throws the signal's reason when it is aborted.
   */
  async encode(
    options: DepthFileOptions & { format: DepthFormat; signal?: AbortSignal | undefined },
  ): Promise<Uint8Array> {
    const { signal, ...file } = options;
    const { format } = file;
    const { bits, colour, metres, ...adjustments } = checkFileOptions(file);
    const { width, height } = this;
    if (format === "npy") return toNpy(metres ? this.#requireMetres() : this.data, width, height);
    const channels = colour ? 3 : 1;
    const length = width * height * channels;
    const data = bits === 8 ? new Uint8Array(length) : new Uint16Array(length);
    const take: TakeRow = (row, y) => {
      const pixels = { data: row, width, height: 1, channels: 1 };
      data.set(colour ? toColours(pixels) : toLevels(pixels, bits), y * width * channels);
    };
    const { source } = this;
    await normalizedRows(this.inverseDepth, { width, height, source, adjustments, signal }, take);
    return untilAborted(encodeImage({ data, width, height, channels }, format), signal);
  }

  /**
   * Writes the depth at the photo's size, as an image or as an array (`.npy`), by the extension.
   * @returns the path written
   * @throws as {@link encode}
   * @throws {OutputError} when the file cannot be written.
   */
  async save(
    path: string,
    options: DepthFileOptions & { overwrite?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<string> {
    const { overwrite = true, ...file } = options;
    const bytes = await this.encode({ ...file, format: depthFormatOf(path) });
    return saveFile(path, bytes, { overwrite });
  }

  #requireMetres(): Float32Array {
    const { metres } = this;
    if (metres) return metres;
    throw new ImageError(
      this.source,
      this.prediction.scale === "relative"
        ? "distances in metres are unavailable: this model estimates relative depth only."
        : "distances in metres are unavailable: the photo has no focal length in EXIF, and this model does not estimate one.",
    );
  }
}
