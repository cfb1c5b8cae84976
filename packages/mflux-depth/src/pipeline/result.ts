import { saveFile } from "../files/output.js";
import { encodeImage, formatOf, type ImageFormat, toLevels } from "../images/encode.js";
import { type PictureParameters, sidecarPath, toComment, toSidecar } from "./metadata.js";

/** A finished picture: RGB, 8 bits, row by row. */
export interface Picture {
  /** `height · width · 3` values. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Latents as the transformer leaves them, in PyTorch's layout. */
export interface Latents {
  readonly data: Float32Array;
  /** `[1, channels, height / 8, width / 8]`. */
  readonly shape: readonly [number, number, number, number];
}

/** The depth that a picture was made from, at its size: 0 to 1, near is 1. */
export interface DepthMap {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
}

export interface SaveOptions {
  /** Write the parameters beside the picture too, as `picture.metadata.json`. */
  readonly sidecar?: boolean;
  /** false: an existing file stays, and the name gets _1, _2 … */
  readonly overwrite?: boolean;
}

/** What a generation gives. */
export class GenerationResult {
  readonly image: Picture;
  readonly latents: Latents;
  /** The map that was used: the one given, or the one inferred from the photo. */
  readonly depthMap: DepthMap;
  /** The seed that was used; null when the noise was given. */
  readonly seed: number | null;
  /** What the picture was made from, as it is written into the file. */
  readonly metadata: PictureParameters;
  /** Seconds of each stage; `load` is the time spent on reading weights, in none of the others. */
  readonly timings: Readonly<Record<string, number>>;
  /** One sentence for each thing that was not done quite as asked. */
  readonly warnings: readonly string[];

  constructor(parts: {
    image: Picture;
    latents: Latents;
    depthMap: DepthMap;
    metadata: PictureParameters;
    timings: Readonly<Record<string, number>>;
    warnings: readonly string[];
  }) {
    this.image = parts.image;
    this.latents = parts.latents;
    this.depthMap = parts.depthMap;
    this.seed = parts.metadata.seed;
    this.metadata = parts.metadata;
    this.timings = parts.timings;
    this.warnings = parts.warnings;
  }

  /** The picture as a file's bytes, with the parameters in EXIF. */
  encode(format: ImageFormat): Promise<Uint8Array> {
    return encodeImage({ ...this.image, channels: 3 }, format, toComment(this.metadata));
  }

  /**
   * Writes the picture as PNG, JPEG or WebP, by the name's extension, with the parameters in EXIF. The file appears
   * whole or not at all.
   * @returns the path written.
   * @throws {OptionError} for another extension.
   * @throws {OutputError} when the file cannot be written.
   */
  async save(path: string, { sidecar = false, overwrite = true }: SaveOptions = {}): Promise<string> {
    const written = await saveFile(path, await this.encode(formatOf(path)), { overwrite });
    if (sidecar) await saveFile(sidecarPath(written), toSidecar(this.metadata));
    return written;
  }

  /**
   * Writes the map that was used as a grey picture; 16 bits in PNG, 8 in other formats.
   * @returns the path written.
   * @throws as {@link save}.
   */
  async saveDepthMap(
    path: string,
    { overwrite = true }: { readonly overwrite?: boolean } = {},
  ): Promise<string> {
    const format = formatOf(path);
    const { width, height } = this.depthMap;
    const data = toLevels({ ...this.depthMap, channels: 1 }, format === "png" ? 16 : 8);
    return saveFile(path, await encodeImage({ data, width, height, channels: 1 }, format), { overwrite });
  }
}
