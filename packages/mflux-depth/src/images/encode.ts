import { extname } from "node:path";
import { OptionError } from "../errors.js";
import { checkOption, type RawImage } from "../options/index.js";
import { codec } from "./codec.js";
import type { FloatImage } from "./types.js";

export type ImageFormat = "png" | "jpeg" | "webp";

const formats: Readonly<Record<string, ImageFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/**
 * Derives the format from a file name's extension.
 * @param option what gives the name, for the message.
 * @throws {OptionError} for an extension other than .png, .jpg, .jpeg and .webp.
 */
export function formatOf(path: string, option = "output"): ImageFormat {
  checkOption(option, { type: "text" }, path);
  const format = formats[extname(path).toLowerCase()];
  if (!format)
    throw new OptionError(
      option,
      `${option} must end in .png, .jpg, .jpeg or .webp, not ${JSON.stringify(path)}.`,
    );
  return format;
}

/**
 * Encodes a grey (one channel) or RGB image. 16 bits stay 16 bits in PNG.
 * @param comment ASCII text for EXIF UserComment
 */
export async function encodeImage(
  image: RawImage,
  format: ImageFormat,
  comment?: string,
): Promise<Uint8Array> {
  const { data, width, height } = image;
  const sharp = codec();
  let encoder = sharp(data, { raw: { width, height, channels: image.channels as 1 | 3 } });
  const deep = data instanceof Uint16Array;
  if (image.channels === 1) encoder = encoder.toColourspace(deep ? "grey16" : "b-w");
  else if (deep) encoder = encoder.toColourspace("rgb16");
  if (comment !== undefined)
    encoder = encoder.withExif({ IFD0: { Software: "mflux-depth" }, IFD2: { UserComment: comment } });
  switch (format) {
    case "png":
      return encoder.png().toBuffer();
    case "jpeg":
      return encoder.jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer();
    case "webp":
      return encoder.webp({ quality: 95, smartSubsample: true }).toBuffer();
  }
}

/** Encodes 8-bit RGB pixels as a small JPEG, for previews that are visible for seconds. */
export async function encodePreview({
  data,
  width,
  height,
}: {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}): Promise<{ bytes: Uint8Array; mime: "image/jpeg"; width: number; height: number }> {
  const sharp = codec();
  const bytes = await sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 80 })
    .toBuffer();
  return { bytes, mime: "image/jpeg", width, height };
}

/** Rounds an image's values to 8 or 16 bits. */
export function toLevels({ data }: FloatImage, bits: 8 | 16): Uint8Array | Uint16Array {
  const largest = 2 ** bits - 1;
  const levels = bits === 8 ? new Uint8Array(data.length) : new Uint16Array(data.length);
  for (let i = 0; i < levels.length; i++) levels[i] = Math.round(data[i]! * largest);
  return levels;
}
