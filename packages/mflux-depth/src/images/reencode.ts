import { codec } from "./codec.js";
import type { ImageFormat } from "./encode.js";
import { optionsOf } from "./encoded.js";

export interface ReencodeOptions {
  /** In pixels; an image is never enlarged. Unchanged by default. */
  readonly width?: number | undefined;
  /** 1 to 100, for JPEG and WebP; 90 by default. */
  readonly quality?: number | undefined;
}

/**
 * Encodes a readable image in another format or width. It stays upright, and keeps its parameters unless the width
 * changes.
 */
export async function reencode(
  image: Uint8Array,
  format: ImageFormat,
  { width, quality = 90 }: ReencodeOptions = {},
): Promise<Uint8Array> {
  const sharp = codec();
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
