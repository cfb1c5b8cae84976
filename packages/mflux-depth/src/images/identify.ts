import { bytesSource } from "./byte-source.js";
import { type EncodedImage, openEncoded } from "./encoded.js";

/** What an encoded image's header says. */
export interface ImageIdentity {
  /** By content: "image/png". */
  readonly mime: string;
  /** The size is upright, like all sizes here. */
  readonly width: number;
  readonly height: number;
}

const mimes: Readonly<Record<EncodedImage["format"], string>> = {
  jpeg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  heif: "image/avif",
  tiff: "image/tiff",
  gif: "image/gif",
};

/**
 * Identifies an encoded image by its header, without decoding it.
 * @throws {ImageError} for unsupported formats, animations, unusable sizes, or too little data.
 */
export async function identifyImage(bytes: Uint8Array): Promise<ImageIdentity> {
  const { format, width, height } = await openEncoded(bytes, bytesSource(bytes), "the picture", "photo");
  return { mime: mimes[format], width, height };
}
