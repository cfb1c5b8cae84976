import { OptionError } from "../errors.js";
import { saveFile } from "../files/output.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { readDepthMap, readPhoto } from "../images/decode.js";
import { encodeImage, formatOf } from "../images/encode.js";
import { readParameters } from "../images/metadata.js";
import type { DecodedImage, Raster } from "../images/types.js";
import { Listener } from "../listener.js";
import {
  checkOption,
  checkOptions,
  type GivenOptions,
  type ImageInput,
  type RawImage,
  refuseUnknown,
  requireOptions,
  scoreOptions,
} from "../options/index.js";
import type { LoadProgress } from "../weights/component.js";
import { adjustedMap, type MapAdjustments, normalizedMap } from "./adjustments.js";
import { derivationOf } from "./derivation.js";
import type { DepthEstimator } from "./estimator.js";
import { compareDepth, type FidelityComparison, type FidelityScores } from "./fidelity.js";
import { toHeatmap } from "./heatmap.js";
import { judgeFor } from "./judge.js";
import { obtainEstimator } from "./open.js";

export interface ScoreOptions extends GivenOptions<typeof scoreOptions> {
  readonly signal?: AbortSignal | undefined;
  /** Receives the progress of downloads and of reading weights. */
  readonly onProgress?: ((progress: LoadProgress | DownloadProgress) => void) | undefined;
}

/** Scores of how faithfully an image keeps the geometry of a depth map or a photo. */
export class Fidelity implements FidelityScores {
  readonly rmse: number;
  readonly correlation: number;
  readonly absRel: number;
  readonly edgeF1: number;
  /** The repository or folder of the judging estimator. */
  readonly depthModel: string;
  readonly #comparison: FidelityComparison;
  readonly #image: DecodedImage;

  constructor(comparison: FidelityComparison, image: DecodedImage, depthModel: string) {
    this.rmse = comparison.rmse;
    this.correlation = comparison.correlation;
    this.absRel = comparison.absRel;
    this.edgeF1 = comparison.edgeF1;
    this.depthModel = depthModel;
    this.#comparison = comparison;
    this.#image = image;
  }

  /** The image in grey, orange where it is nearer than the map and blue where it is farther: RGB, 8 bits. */
  heatmap(): RawImage {
    const { width, height } = this.#image;
    return { data: toHeatmap(this.#comparison, this.#image), width, height, channels: 3 };
  }

  /**
   * Writes the {@link heatmap} as PNG, JPEG or WebP, by the extension.
   * @returns the path written
   * @throws {OptionError} for another extension.
   * @throws {OutputError} when the file cannot be written.
   */
  async saveHeatmap(path: string, { overwrite = true } = {}): Promise<string> {
    const bytes = await encodeImage(this.heatmap(), formatOf(path));
    return saveFile(path, bytes, { overwrite });
  }
}

/**
 * Scores how faithfully an image keeps the geometry that it was made from: estimates the image's depth and compares it
 * with a map, or with the depth that the same estimator sees in a photo. If the image's parameters name that very file,
 * the map is adjusted and framed as it was for the image.
 * @throws {OptionError} for an invalid option, and unless exactly one of `depth` and `photo` is given.
 * @throws {ImageError} when an image cannot be read.
 * @throws {ModelError} when the depth estimator is not found, cannot be downloaded or does not load.
 * @throws the signal's reason when it is aborted.
 */
export async function score(image: ImageInput, given: ScoreOptions): Promise<Fidelity> {
  requireOptions(given);
  const { onProgress, signal: cancel, ...rest } = given;
  refuseUnknown(Object.keys(rest), Object.keys(scoreOptions));
  checkOption("image", { type: "image" }, image);
  const { depth, photo, depthModel, offline, device } = checkOptions(scoreOptions, rest);
  if ((depth === undefined) === (photo === undefined))
    throw new OptionError(
      depth === undefined ? "depth" : "photo",
      depth === undefined
        ? "A score needs depth, the map that the image was made from, or photo."
        : "A score compares with depth or with photo; leave one out.",
      { code: depth === undefined ? "option-missing" : "option-conflict" },
    );
  const progress = new Listener(onProgress);
  using job = progress.job(cancel);
  const { signal } = job;
  const decoded = await readPhoto(image, { signal });
  const reference = depth === undefined ? await readPhoto(photo!, { signal }) : null;
  const map = depth === undefined ? null : await readDepthMap(depth, { signal });
  const parameters = readParameters(decoded.exif);
  const judge = depthModel ?? judgeFor(parameters);
  using estimator = await obtainEstimator({
    depthModel: judge,
    device,
    offline,
    signal,
    onLoad: progress.tell,
    onDownload: progress.tell,
  });
  const estimate = await depthOf(decoded, estimator, signal);
  const origin = map ?? reference!;
  const { fit, adjustments } = derivationOf(parameters, origin.sha256);
  const expected = map
    ? adjustedMap(map, map.source, adjustments)
    : await mapOf(origin, estimator, adjustments, signal);
  const framing = { fit, proportions: origin.original };
  return new Fidelity(compareDepth(expected, estimate, decoded.original, framing), decoded, judge);
}

/** The map made from a photo's depth, at the estimator's size. */
async function mapOf(
  photo: DecodedImage,
  estimator: DepthEstimator,
  adjustments: MapAdjustments,
  signal: AbortSignal | undefined,
): Promise<Raster> {
  const inverse = await depthOf(photo, estimator, signal);
  return normalizedMap(inverse, inverse.width, inverse.height, photo.source, adjustments);
}

async function depthOf(
  photo: DecodedImage,
  estimator: DepthEstimator,
  signal: AbortSignal | undefined,
): Promise<Raster> {
  const { inverseDepth } = await estimator.estimate(photo, { fieldOfView: false, signal });
  return inverseDepth;
}
