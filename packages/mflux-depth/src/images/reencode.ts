import { codec } from "./codec.js";
import type { ImageFormat } from "./encode.js";

/**
 * Encodes an image of this library's making again: in another format, at another width.
 * @param options.width in pixels; an image is never enlarged. Its own by default.
 */
export async function reencode(
  image: Uint8Array,
  format: ImageFormat,
  { width }: { readonly width?: number | undefined } = {},
): Promise<Uint8Array> {
  const sharp = await codec();
  const source = sharp(image);
  const resized = width === undefined ? source : source.resize({ width, withoutEnlargement: true });
  switch (format) {
    case "png":
      return resized.png().toBuffer();
    case "jpeg":
      return resized.jpeg({ quality: 90 }).toBuffer();
    case "webp":
      return resized.webp({ quality: 90 }).toBuffer();
  }
}
