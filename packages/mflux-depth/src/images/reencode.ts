import { codec } from "./codec.js";
import type { ImageFormat } from "./encode.js";
import { optionsOf } from "./encoded.js";

export interface ReencodeOptions {
  /** In pixels; an image is never enlarged. Its own by default. */
  readonly width?: number | undefined;
  /** 1 to 100, for JPEG and WebP; 90 by default. */
  readonly quality?: number | undefined;
}

/**
 * Encodes an image that can be read again: in another format, at another width. It stays upright, and keeps the
 * parameters inside unless it gets another width.
 */
export async function reencode(
  image: Uint8Array,
  format: ImageFormat,
  { width, quality = 90 }: ReencodeOptions = {},
): Promise<Uint8Array> {
  const sharp = await codec();
  const upright = sharp(image, optionsOf("photo")).autoOrient();
  const sized =
    width === undefined ? upright.keepExif() : upright.resize({ width, withoutEnlargement: true });
  switch (format) {
    case "png":
      return sized.png().toBuffer();
    case "jpeg":
      return sized.flatten({ background: "white" }).jpeg({ quality }).toBuffer();
    case "webp":
      return sized.webp({ quality }).toBuffer();
  }
}
