import { codec } from "./codec.js";
import type { ImageFormat } from "./encode.js";

/**
 * Encodes an image of this library's making again: in another format, at another width.
 * @param options.width in pixels; an image is never enlarged. Its own by default.
 * @param options.quality of JPEG and WebP, 0 to 100; 90 by default.
 */
export async function reencode(
  image: Uint8Array,
  format: ImageFormat,
  {
    width,
    quality = 90,
  }: { readonly width?: number | undefined; readonly quality?: number | undefined } = {},
): Promise<Uint8Array> {
  const sharp = await codec();
  const source = sharp(image);
  const resized = width === undefined ? source : source.resize({ width, withoutEnlargement: true });
  switch (format) {
    case "png":
      return resized.png().toBuffer();
    case "jpeg":
      return resized.jpeg({ quality: Math.max(1, quality) }).toBuffer();
    case "webp":
      return resized.webp({ quality: Math.max(1, quality) }).toBuffer();
  }
}
