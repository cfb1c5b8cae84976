/*
 * Pictures in and out: sharp decodes and encodes, everything between is float. Values are 0 to 255 with fractions
 * where a file has 16 bits.
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { extname } from "node:path";
import type { Sharp, SharpOptions } from "sharp";
import { ImageError, OptionError } from "../errors.js";
import type { ImageInput, RawImage } from "../options/index.js";
import { lanczos, type Pixels, resize } from "./resample.js";

/** sharp loads a library of 20 MB: not before the first picture. */
const codec = async () => (await import("sharp")).default;

/** A decoded picture, `[height, width, channels]`, 0 to 255. */
export interface DecodedImage extends Pixels {
  /** The file's path, or what the picture was given as. */
  readonly source: string;
  /** Of the file's bytes, or of the pixels. */
  readonly sha256: string;
  /** The file's EXIF block. */
  readonly exif?: Uint8Array;
  /** What the caller should tell the user. */
  readonly warnings: readonly string[];
}

const smallestSide = 16;
const largestSide = 20_000;
const mostPixels = 100e6;
const mostBytes = 1e9;

/**
 * Reads a photo: three channels, upright (EXIF orientation), in sRGB, transparent parts on white.
 * @throws {ImageError} when it cannot be read, is animated, or has no usable size.
 */
export const readPhoto = (input: ImageInput): Promise<DecodedImage> => decode(input, "photo");

/**
 * Reads a depth map: one channel, upright, values as stored (no colour management), 16 bits kept.
 * @throws {ImageError} as {@link readPhoto}, and for a map with transparent parts or without any relief.
 */
export async function readDepthMap(input: ImageInput): Promise<DecodedImage> {
  const decoded = await decode(input, "map");
  const { data, coloured } = luminance(decoded.data);
  const warnings = coloured
    ? [`${decoded.source} is a picture in colours; a depth map is grey: its luminance is used.`]
    : [];
  if (data.every((v) => v === data[0]))
    throw new ImageError(decoded.source, "every pixel has the same value, so the map shows no depth.");
  return { ...decoded, data, channels: 1, warnings };
}

/** Grey of RGB, with Pillow's weights; equal channels stay exactly what they are. */
function luminance(rgb: Float32Array): { data: Float32Array; coloured: boolean } {
  const data = new Float32Array(rgb.length / 3);
  let far = 0;
  for (let i = 0; i < data.length; i++) {
    const [r, g, b] = [rgb[3 * i]!, rgb[3 * i + 1]!, rgb[3 * i + 2]!];
    data[i] = r === g && g === b ? r : (r * 19595 + g * 38470 + b * 7471) / 65536;
    // JPEG leaves a trace of colour in grey pictures.
    if (Math.max(r, g, b) - Math.min(r, g, b) > 16) far++;
  }
  return { data, coloured: far > data.length / 100 };
}

/** What messages call a picture that did not come from a file. */
const unnamed = { photo: "the photo", map: "the depth map" } as const;

async function decode(input: ImageInput, as: "photo" | "map"): Promise<DecodedImage> {
  if (typeof input !== "string" && !(input instanceof Uint8Array)) return fromPixels(input, as);
  const source = typeof input === "string" ? input : unnamed[as];
  const bytes = typeof input === "string" ? await readImageFile(input) : input;
  if (bytes.byteLength === 0) throw new ImageError(source, "the file is empty.");

  const sharp = await codec();
  // Sizes are ours to judge, before anything is decoded. A map's numbers are no colours to be managed.
  const options: SharpOptions = { limitInputPixels: false, failOn: "truncated", ignoreIcc: as === "map" };
  const opened = sharp(bytes, options);
  const info = await opened.metadata().catch((error: unknown) => {
    throw notAnImage(source, error);
  });
  checkSize(source, info.width, info.height);
  if ((info.pages ?? 1) > 1 || isAnimatedPng(bytes))
    throw new ImageError(source, "is animated or has several pages; give a single picture.");
  if (info.depth === "float" || info.depth === "double")
    throw new ImageError(source, "has floating-point pixels; save it with 8 or 16 bits.");

  const deep = info.depth !== "uchar";
  const { data, info: out } = await pixelsOf(opened, deep).catch((error: unknown) => {
    throw new ImageError(source, "is damaged or cut off and cannot be decoded.", { cause: error });
  });
  const raw: RawImage = {
    data: deep ? new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2) : data,
    width: out.width,
    height: out.height,
    channels: out.channels,
  };
  return {
    ...flatten(raw, source, as),
    source,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    ...(info.exif && { exif: info.exif }),
    warnings: [],
  };
}

const pixelsOf = (opened: Sharp, deep: boolean) =>
  opened
    .autoOrient()
    .toColourspace(deep ? "rgb16" : "srgb")
    .raw({ depth: deep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });

function fromPixels(raw: RawImage, as: "photo" | "map"): DecodedImage {
  const source = unnamed[as];
  checkSize(source, raw.width, raw.height);
  const { data, width, height, channels } = raw;
  if (![1, 2, 3, 4].includes(channels) || data.length !== width * height * channels)
    throw new ImageError(
      source,
      `${data.length} values do not make ${width} × ${height} pixels of ${channels} channels.`,
    );
  if (data instanceof Float32Array && !data.every((v) => v >= 0 && v <= 1))
    throw new ImageError(source, "floating-point pixels must lie between 0 and 1.");
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return {
    ...flatten(raw, source, as),
    source,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    warnings: [],
  };
}

/** To RGB of 0 to 255, with alpha on white for photos; a map must be opaque. */
function flatten(raw: RawImage, source: string, as: "photo" | "map"): Pixels {
  const { data, width, height, channels } = raw;
  const largest = data instanceof Float32Array ? 1 : data instanceof Uint16Array ? 65535 : 255;
  const colours = channels < 3 ? 1 : 3;
  const hasAlpha = channels % 2 === 0;
  const rgb = new Float32Array(width * height * 3);
  for (let p = 0, i = 0, o = 0; p < width * height; p++, i += channels) {
    const alpha = hasAlpha ? data[i + colours]! / largest : 1;
    if (alpha < 1 && as === "map")
      throw new ImageError(source, "has transparent parts, which say nothing of depth; save the map opaque.");
    for (let c = 0; c < 3; c++) {
      const value = (data[i + (colours === 3 ? c : 0)]! * 255) / largest;
      rgb[o++] = value * alpha + 255 * (1 - alpha);
    }
  }
  return { data: rgb, width, height, channels: 3 };
}

function checkSize(source: string, width: number, height: number): void {
  const size = `${width} × ${height} pixels`;
  if (!(Number.isInteger(width) && Number.isInteger(height) && Math.min(width, height) >= smallestSide))
    throw new ImageError(source, `has ${size}; at least ${smallestSide} each way are needed.`);
  if (Math.max(width, height) > largestSide || width * height > mostPixels)
    throw new ImageError(
      source,
      `has ${size}; at most ${largestSide} each way and ${mostPixels / 1e6} million in all are read: make it smaller.`,
    );
}

async function readImageFile(path: string): Promise<Uint8Array> {
  try {
    const file = await open(path);
    try {
      const info = await file.stat();
      if (info.isDirectory()) throw new ImageError(path, "is a folder, not a picture.");
      if (!info.isFile()) throw new ImageError(path, "is not a file.");
      if (info.size > mostBytes) throw new ImageError(path, "is larger than 1 GB, too large for a picture.");
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof ImageError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === "ENOENT" || code === "ENOTDIR"
        ? "there is no such file."
        : code === "EACCES" || code === "EPERM"
          ? "this user may not read it."
          : code === "EISDIR"
            ? "is a folder, not a picture."
            : `cannot be read (${code ?? error}).`;
    throw new ImageError(path, reason, { cause: error });
  }
}

const notAnImage = (source: string, cause: unknown): ImageError =>
  new ImageError(
    source,
    /corrupt|header|premature|end of/i.test(String(cause))
      ? "is damaged or cut off and cannot be decoded."
      : "is not a picture that can be read (JPEG, PNG, WebP, AVIF, TIFF, GIF or SVG).",
    { cause },
  );

/** Whether a PNG has an animation chunk, which libpng passes over. It must come before the pixels. */
function isAnimatedPng(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 16 || view.getUint32(0) !== 0x89504e47) return false;
  for (let at = 8; at + 8 <= bytes.byteLength; at += 12 + view.getUint32(at)) {
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === "acTL") return true;
    if (type === "IDAT") return false;
  }
  return false;
}

/**
 * What the VAE encodes: the picture stretched to a size with Lanczos, clamped, from −1 to 1.
 * diffusers: image_processor.py; the resizing is on floats, see the design.
 * @param image one channel (repeated) or three, 0 to 255.
 * @returns `[1, height, width, 3]`.
 */
export function toModelInput(image: Pixels, width: number, height: number): Float32Array {
  const { data, channels } = resize(image, width, height, lanczos);
  const out = new Float32Array(width * height * 3);
  for (let p = 0, o = 0; p < width * height; p++)
    for (let c = 0; c < 3; c++) {
      const value = data[channels === 1 ? p : 3 * p + c]!;
      out[o++] = 2 * Math.fround(Math.min(Math.max(value, 0), 255) / 255) - 1;
    }
  return out;
}

/**
 * Pixels of a decoded picture: `x / 2 + ½` clamped, × 255, rounded half to even, in float32.
 * @param values −1 to 1, any shape.
 */
export function toBytes(values: Float32Array): Uint8Array {
  const f32 = Math.fround;
  return Uint8Array.from(values, (x) => {
    const scaled = f32(Math.min(Math.max(f32(f32(x / 2) + 0.5), 0), 1) * 255);
    const low = Math.floor(scaled);
    const rest = scaled - low;
    return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
  });
}

export type ImageFormat = "png" | "jpeg" | "webp";

const formats: Readonly<Record<string, ImageFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/**
 * The format that a file name asks for.
 * @throws {OptionError} for an extension other than .png, .jpg, .jpeg and .webp.
 */
export function formatOf(path: string): ImageFormat {
  const format = formats[extname(path).toLowerCase()];
  if (!format)
    throw new OptionError(
      "output",
      `output must end in .png, .jpg, .jpeg or .webp, not ${JSON.stringify(path)}.`,
    );
  return format;
}

/**
 * Encodes a picture of one (grey) or three channels; 16 bits stay 16 bits in PNG.
 * @param comment ASCII text for EXIF UserComment.
 */
export async function encodeImage(
  image: RawImage,
  format: ImageFormat,
  comment?: string,
): Promise<Uint8Array> {
  const { data, width, height } = image;
  const sharp = await codec();
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

/** The EXIF block of a picture and its size, without decoding it. */
export async function inspectImage(
  path: string,
): Promise<{ format: string; width: number; height: number; exif: Uint8Array | undefined }> {
  const bytes = await readImageFile(path);
  if (bytes.byteLength === 0) throw new ImageError(path, "the file is empty.");
  const sharp = await codec();
  const info = await sharp(bytes, { limitInputPixels: false })
    .metadata()
    .catch((error: unknown) => {
      throw notAnImage(path, error);
    });
  return { format: info.format, width: info.width, height: info.height, exif: info.exif };
}
