import { ImageError } from "../errors.js";
import { bytesSource } from "./byte-source.js";
import { type EncodedImage, openEncoded } from "./encoded.js";

/** What an encoded image says about itself. */
export interface ImageIdentity {
  /** By content: "image/png". */
  readonly mime: string;
  /** Upright, as all sizes here. */
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
 * Judges an encoded image by its header, without decoding it.
 * @throws {ImageError} for what this library refuses: other formats, animations, unusable sizes, too little data.
 */
export async function identifyImage(bytes: Uint8Array): Promise<ImageIdentity> {
  if (isHeic(bytes))
    throw new ImageError(
      "the picture",
      "is HEIC, which cannot be read here; save it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible).",
    );
  const { format, width, height } = await openEncoded(bytes, bytesSource(bytes), "the picture", "photo");
  return { mime: mimes[format], width, height };
}

/** HEVC in the container that AVIF uses too; the brand tells which. */
function isHeic(bytes: Uint8Array): boolean {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(64, bytes.byteLength)).toString("latin1");
  if (!head.startsWith("ftyp", 4)) return false;
  return (
    /^(hei[cxms]|hev[cxms])$/.test(head.slice(8, 12)) ||
    (/^m[is]f1$/.test(head.slice(8, 12)) && !/avi[fs]/.test(head))
  );
}
