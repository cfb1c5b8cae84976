import { totalmem } from "node:os";
import type { Metadata, SharpOptions } from "sharp";
import { describeBytes } from "../bytes.js";
import { ImageError, MemoryError } from "../errors.js";
import type { ByteSource } from "./byte-source.js";
import { codec } from "./codec.js";
import { lacksData } from "./completeness.js";
import { type EncodedFormat, formatOfBytes, isAnimatedPng } from "./format.js";
import { checkSize, keptSize } from "./sizes.js";

/** How an image is read, which decides colour management and the meaning of transparency. */
export type ImageRole = "photo" | "map" | "mask";

/** An encoded image whose header has been checked. */
export interface EncodedImage {
  /** A path, or bytes. */
  readonly input: string | Uint8Array;
  readonly byteLength: number;
  /** Its name in messages. */
  readonly name: string;
  readonly role: ImageRole;
  readonly format: EncodedFormat;
  /** The size is upright, like all sizes here. */
  readonly width: number;
  readonly height: number;
  /** More than 8 bits. */
  readonly deep: boolean;
  /** The maximum number of bytes per decoded pixel. */
  readonly pixelBytes: number;
  /** Whether its rows cannot be decoded one after another. */
  readonly isProgressive: boolean;
  readonly exif: Uint8Array | undefined;
  /** Bytes that a decoder holds in addition to the pixels that are kept. */
  readonly decoderBytes: number;
}

/** This library checks sizes itself before decoding. */
const unlimited: SharpOptions = { limitInputPixels: false };

/** A map's values are not colours to be managed. */
export const optionsOf = (role: ImageRole): SharpOptions => ({
  ...unlimited,
  ignoreIcc: role !== "photo",
});

/**
 * Checks an encoded image by its header.
 * @param input what the decoder opens: the path or the bytes of `source`
 * @param name its name in messages
 * @throws {ImageError} when the image cannot be read, is animated, lacks data, or has an unusable size.
 */
export async function openEncoded(
  input: string | Uint8Array,
  source: ByteSource,
  name: string,
  role: ImageRole,
): Promise<EncodedImage> {
  const { format, info } = await readHeader(input, source, name);
  checkSize(name, info.width, info.height);
  if ((info.pages ?? 1) > 1 || (format === "png" && (await isAnimatedPng(source))))
    throw new ImageError(name, "is animated or has several pages; give a single image.");
  if (info.depth === "float" || info.depth === "double")
    throw new ImageError(name, "has floating-point pixels; save it with 8 or 16 bits.");
  if (await lacksData(source, format, info.width, info.height))
    throw new ImageError(
      name,
      "is damaged or cut off and cannot be decoded: it has too little data for its size.",
    );
  const isTurned = (info.orientation ?? 1) >= 5;
  return {
    input,
    byteLength: source.length,
    name,
    role,
    format,
    width: isTurned ? info.height : info.width,
    height: isTurned ? info.width : info.height,
    deep: info.depth !== "uchar",
    pixelBytes: (info.hasAlpha ? 4 : 3) * (info.depth === "uchar" ? 1 : 2),
    isProgressive: info.isProgressive ?? false,
    exif: info.exif,
    decoderBytes: decoderBytesPerPixel(format, info) * info.width * info.height,
  };
}

/**
 * Reads the format and the header.
 * @throws {ImageError} when the format is unknown or the header damaged.
 */
export async function readHeader(
  input: string | Uint8Array,
  source: ByteSource,
  name: string,
): Promise<{ readonly format: EncodedFormat; readonly info: Metadata }> {
  if (source.length === 0) throw new ImageError(name, "the file is empty.");
  const format = await formatOfBytes(source);
  if (format === "drawing")
    throw new ImageError(
      name,
      "is a drawing (such as SVG, PDF or PostScript), not an image made of pixels; export it as PNG.",
    );
  if (format === "heic")
    throw new ImageError(
      name,
      "is HEIC, which cannot be read here; save it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible).",
    );
  if (format === null)
    throw new ImageError(name, "is not an image that can be read (JPEG, PNG, WebP, AVIF, TIFF or GIF).");
  const sharp = codec();
  const info = await sharp(input, unlimited)
    .metadata()
    .catch((error: unknown) => {
      throw new ImageError(name, "is damaged or cut off and cannot be decoded.", { cause: error });
    });
  return { format, info };
}

/**
 * Bytes that decoders hold for each pixel of the file, measured with libvips 8.18. Formats with sequential rows need
 * only a few rows, and libvips keeps a TIFF's pieces below 50 MB.
 */
function decoderBytesPerPixel(format: EncodedFormat, info: Metadata): number {
  const channels = info.channels ?? 4;
  const bytes = info.depth === "uchar" ? 1 : 2;
  switch (format) {
    case "jpeg":
      // Coefficients of 16 bits.
      return info.isProgressive ? 2 * (info.chromaSubsampling === "4:2:0" ? 1.5 : channels) : 0;
    case "png":
      return info.isProgressive ? channels * bytes : 0;
    case "webp":
      return 4.2;
    case "gif":
      return 4.4;
    case "heif":
      return 17 * bytes;
    case "tiff":
      return 0;
  }
}

/** The maximum number of bytes that a decoder may hold, including the encoded image if it is in memory. */
const mostDecoderBytes = 425e6;

/**
 * Checks that decoding an image stays within bounds, and that the machine has the memory.
 * @throws {ImageError} when any machine would need too much.
 * @throws {MemoryError} when this one has too little.
 */
export function requireDecodable(image: EncodedImage): void {
  const { input, byteLength, name, width, height, pixelBytes, role, decoderBytes } = image;
  const heldBytes = decoderBytes + (typeof input === "string" ? 0 : byteLength);
  if (heldBytes > mostDecoderBytes)
    throw new ImageError(
      name,
      `needs ${describeBytes(heldBytes)} to be decoded, because its format has to be decoded as a whole; make it ` +
        "smaller, or save it as a JPEG or PNG that is not progressive.",
    );
  const kept = keptSize(image);
  const bytesPerPixel = pixelBytes + (role === "photo" ? 12 : 4);
  const needed = heldBytes + kept.width * kept.height * bytesPerPixel;
  // macOS counts cached files as used, but can drop most of them.
  const available = process.platform === "darwin" ? 0.8 * totalmem() : process.availableMemory();
  if (needed > available)
    throw new MemoryError(
      needed,
      available,
      `${name}: decoding ${width} × ${height} pixels needs about ${describeBytes(needed)}, and ` +
        `${describeBytes(available)} is free; make the image smaller.`,
    );
}
