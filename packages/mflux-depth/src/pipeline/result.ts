import { saveFile } from "../files/output.js";
import { encodeImage, formatOf, type ImageFormat, toLevels } from "../images/encode.js";
import type { DepthMap } from "../images/map.js";
import { type PictureParameters, sidecarPath, toComment, toSidecar } from "../images/metadata.js";
import { refuseUnknown, requireOptions } from "../options/index.js";

export type { DepthMap };

/** A generated image: RGB, 8 bits for each value, row by row. */
export interface Picture {
  /** `height · width · 3` values. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Unpacked latents in PyTorch's layout, in the transformer's scale. */
export interface Latents {
  readonly data: Float32Array;
  /** `[1, channels, height / 8, width / 8]`. */
  readonly shape: readonly [number, number, number, number];
}

export interface SaveOptions {
  /** Also write the parameters next to the image, as `image.metadata.json` (default false). */
  readonly sidecar?: boolean;
  /**
   * Replace existing files (default true). If false, the image gets _1, _2 … before its extension if its name or that
   * of its sidecar is taken.
   */
  readonly overwrite?: boolean;
}

/** The result of a generation: the image, its parameters, and methods to save it. */
export class GenerationResult {
  readonly image: Picture;
  readonly latents: Latents;
  /** The depth map that was used, at the size of the image: the given one, or the one estimated from the photo. */
  readonly depthMap: DepthMap;
  /** The seed of the noise; null when the request brought its own noise. */
  readonly seed: number | null;
  /** The parameters of the generation, in the form written into the file. */
  readonly metadata: PictureParameters;
  /** Seconds of each stage. `load` is the time spent reading weights, which no stage includes. */
  readonly timings: Readonly<Record<string, number>>;
  /** Differences from the request, one sentence each. */
  readonly warnings: readonly string[];

  constructor(fields: {
    image: Picture;
    latents: Latents;
    depthMap: DepthMap;
    metadata: PictureParameters;
    timings: Readonly<Record<string, number>>;
    warnings: readonly string[];
  }) {
    this.image = fields.image;
    this.latents = fields.latents;
    this.depthMap = fields.depthMap;
    this.seed = fields.metadata.seed;
    this.metadata = fields.metadata;
    this.timings = fields.timings;
    this.warnings = fields.warnings;
  }

  /** Encodes the image, with the parameters in EXIF. */
  encode(format: ImageFormat): Promise<Uint8Array> {
    return encodeImage({ ...this.image, channels: 3 }, format, toComment(this.metadata));
  }

  /**
   * Writes the image with the parameters in EXIF, as PNG, JPEG or WebP by the extension of `path`. The file appears
   * completely or not at all.
   * @returns the path of the file, which differs from `path` if that was taken and `overwrite` is false.
   * @throws {OptionError} for another extension, or an unknown option.
   * @throws {OutputError} when the file cannot be written.
   */
  async save(path: string, options: SaveOptions = {}): Promise<string> {
    requireOptions(options);
    const { sidecar = false, overwrite = true, ...rest } = options;
    refuseUnknown(Object.keys(rest), ["sidecar", "overwrite"]);
    const companion = sidecar ? { pathFor: sidecarPath, bytes: toSidecar(this.metadata) } : undefined;
    return saveFile(path, await this.encode(formatOf(path)), { overwrite, companion });
  }

  /**
   * Writes the depth map that was used as a grey image: 16 bits in PNG, 8 in other formats.
   * @returns the path of the file, as {@link save} does.
   * @throws as {@link save}.
   */
  async saveDepthMap(path: string, options: { readonly overwrite?: boolean } = {}): Promise<string> {
    requireOptions(options);
    const { overwrite = true, ...rest } = options;
    refuseUnknown(Object.keys(rest), ["overwrite"]);
    const format = formatOf(path);
    const { width, height } = this.depthMap;
    const data = toLevels({ ...this.depthMap, channels: 1 }, format === "png" ? 16 : 8);
    return saveFile(path, await encodeImage({ data, width, height, channels: 1 }, format), { overwrite });
  }
}
