import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { Sharp, SharpOptions } from "sharp";
import { ImageError } from "../errors.js";
import type { ImageInput, RawImage } from "../options/index.js";
import { codec } from "./codec.js";
import { extremesOf } from "./extremes.js";
import type { DecodedImage, Raster } from "./types.js";

/*
 * Decodes photos and depth maps. Pixels stay at the file's levels (0 to 255 or 65535) until the end: integers are
 * exact, so a level survives decoding, inversion and encoding.
 */

const smallestSide = 16;
const largestSide = 20_000;
const mostPixels = 100e6;
const mostBytes = 1e9;

/**
 * Reads a photo: three channels, upright (EXIF orientation), in sRGB, with transparent parts on white.
 * @throws {ImageError} when it cannot be read, is animated, or has an unusable size.
 */
export async function readPhoto(input: ImageInput): Promise<DecodedImage> {
  const { image, largest } = await decode(input, "photo");
  return toUnitRange(image, largest);
}

export interface DepthMapOptions {
  /** Swap near and far, over the range of the map's values. */
  readonly invert?: boolean;
}

/**
 * Reads a depth map: one channel, upright, values as stored (no colour management), with all 16 bits.
 * @throws {ImageError} as {@link readPhoto}, and when the map is partly transparent or shows no relief.
 */
export async function readDepthMap(
  input: ImageInput,
  { invert = false }: DepthMapOptions = {},
): Promise<DecodedImage> {
  const { image, largest } = await decode(input, "map");
  const { data, isColoured } = luminance(image.data, largest);
  const { min, max } = extremesOf(data);
  if (min === max)
    throw new ImageError(image.source, "every pixel has the same value, so the map shows no depth.");
  const levels = invert ? data.map((level) => min + (max - level)) : data;
  const warnings = isColoured
    ? [`${image.source} is in colour, but a depth map is grey: its luminance is used.`]
    : [];
  return toUnitRange({ ...image, data: levels, channels: 1, warnings }, largest);
}

/** Divides levels by the largest one, in place. */
function toUnitRange(image: DecodedImage, largest: number): DecodedImage {
  const { data } = image;
  if (largest !== 1) for (let i = 0; i < data.length; i++) data[i] = data[i]! / largest;
  return image;
}

/** RGB → grey with Pillow's weights. Equal channels stay exactly what they are. */
function luminance(rgb: Float32Array, largest: number): { data: Float32Array; isColoured: boolean } {
  const data = new Float32Array(rgb.length / 3);
  // JPEG leaves a trace of colour in grey images.
  const tolerated = (16 / 255) * largest;
  let coloured = 0;
  for (let i = 0; i < data.length; i++) {
    const [r, g, b] = [rgb[3 * i]!, rgb[3 * i + 1]!, rgb[3 * i + 2]!];
    data[i] = r === g && g === b ? r : (r * 19595 + g * 38470 + b * 7471) / 65536;
    if (Math.max(r, g, b) - Math.min(r, g, b) > tolerated) coloured++;
  }
  return { data, isColoured: coloured > data.length / 100 };
}

// ---------------------------------------------------------------- files and pixels

/** What an image is read as: decides colour management, and what transparency means. */
type Purpose = "photo" | "map";

/** What messages call an image that did not come from a file. */
const unnamed: Readonly<Record<Purpose, string>> = { photo: "the photo", map: "the depth map" };

/** An image in RGB whose values are levels, and the level of white. */
interface Levels {
  readonly image: DecodedImage;
  readonly largest: number;
}

async function decode(input: ImageInput, purpose: Purpose): Promise<Levels> {
  if (typeof input !== "string" && !(input instanceof Uint8Array)) return fromPixels(input, purpose);
  const source = typeof input === "string" ? input : unnamed[purpose];
  const bytes = typeof input === "string" ? await readImageFile(input) : input;
  if (bytes.byteLength === 0) throw new ImageError(source, "the file is empty.");

  const sharp = await codec();
  // This module judges sizes itself, before anything is decoded. A map's values are not colours to be managed.
  const options: SharpOptions = {
    limitInputPixels: false,
    failOn: "truncated",
    ignoreIcc: purpose === "map",
  };
  const opened = sharp(bytes, options);
  const info = await opened.metadata().catch((error: unknown) => {
    throw notAnImage(source, error);
  });
  checkSize(source, info.width, info.height);
  if ((info.pages ?? 1) > 1 || isAnimatedPng(bytes))
    throw new ImageError(source, "is animated or has several pages; give a single image.");
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
  const image = {
    ...flatten(raw, source, purpose),
    source,
    sha256: sha256Of(bytes),
    ...(info.exif && { exif: info.exif }),
    warnings: [],
  };
  return { image, largest: largestOf(raw) };
}

const pixelsOf = (opened: Sharp, deep: boolean) =>
  opened
    .autoOrient()
    .toColourspace(deep ? "rgb16" : "srgb")
    .raw({ depth: deep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });

function fromPixels(raw: RawImage, purpose: Purpose): Levels {
  const source = unnamed[purpose];
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
  const image = { ...flatten(raw, source, purpose), source, sha256: sha256Of(bytes), warnings: [] };
  return { image, largest: largestOf(raw) };
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The level of white. */
const largestOf = ({ data }: RawImage): number =>
  data instanceof Float32Array ? 1 : data instanceof Uint16Array ? 65535 : 255;

/** Any channels → RGB at the same levels, with alpha on white in photos. A map must be opaque. */
function flatten(raw: RawImage, source: string, purpose: Purpose): Raster {
  const { data, width, height, channels } = raw;
  const largest = largestOf(raw);
  const colours = channels < 3 ? 1 : 3;
  const hasAlpha = channels % 2 === 0;
  const rgb = new Float32Array(width * height * 3);
  for (let p = 0, i = 0, o = 0; p < width * height; p++, i += channels) {
    const alpha = hasAlpha ? data[i + colours]! / largest : 1;
    if (alpha < 1 && purpose === "map")
      throw new ImageError(
        source,
        "has transparent parts, which say nothing about depth; save the map opaque.",
      );
    for (let c = 0; c < 3; c++) {
      const level = data[i + (colours === 3 ? c : 0)]!;
      rgb[o++] = level * alpha + largest * (1 - alpha);
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
      `has ${size}; at most ${largestSide} each way and ${mostPixels / 1e6} million in total can be read: make it smaller.`,
    );
}

async function readImageFile(path: string): Promise<Uint8Array> {
  try {
    const file = await open(path);
    try {
      const info = await file.stat();
      if (info.isDirectory()) throw new ImageError(path, "is a folder, not an image.");
      if (!info.isFile()) throw new ImageError(path, "is not a file.");
      if (info.size > mostBytes) throw new ImageError(path, "is larger than 1 GB, too large for an image.");
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof ImageError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const isMissing = code === "ENOENT" || code === "ENOTDIR";
    throw new ImageError(path, isMissing ? "there is no such file." : fileProblem(code ?? String(error)), {
      cause: error,
      code: isMissing ? "image-not-found" : "image-unusable",
    });
  }
}

function fileProblem(code: string): string {
  switch (code) {
    case "EACCES":
    case "EPERM":
      return "this user may not read it.";
    case "EISDIR":
      return "is a folder, not an image.";
    default:
      return `cannot be read (${code}).`;
  }
}

const notAnImage = (source: string, cause: unknown): ImageError =>
  new ImageError(
    source,
    /corrupt|header|premature|end of/i.test(String(cause))
      ? "is damaged or cut off and cannot be decoded."
      : "is not an image that can be read (JPEG, PNG, WebP, AVIF, TIFF, GIF or SVG).",
    { cause },
  );

/** Looks for a PNG's animation chunk, which libpng skips. It comes before the pixels. */
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
 * Reads an image's format, size and EXIF block without decoding it.
 * @throws {ImageError} when it cannot be read.
 */
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
