import { createHash } from "node:crypto";
import { untilAborted } from "../abort.js";
import { describeBytes } from "../bytes.js";
import { ImageError } from "../errors.js";
import { openRegularFile, readRegularFile } from "../files/read.js";
import type { ImageInput, RawImage } from "../options/index.js";
import { bytesSource, fileSource } from "./byte-source.js";
import { decodeInProcess } from "./decoder-process.js";
import type { DecodedHeader } from "./decoder-protocol.js";
import { type EncodedImage, type ImageRole, openEncoded, readHeader } from "./encoded.js";
import { imageFileError, largestFile } from "./file.js";
import { type LevelSink, MapLevels, MaskLevels, PhotoLevels, type PixelLayout } from "./levels.js";
import { decodePixels } from "./pixels.js";
import { rawLayout, readRaw } from "./raw.js";
import type { DecodedImage } from "./types.js";

/*
 * Reads photos and depth maps. Ordinary images are decoded in this process; large ones, which take much time and
 * memory, in a process that can be killed.
 */

export interface ReadImageOptions {
  /** Ends the reading within milliseconds. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a photo: three channels, upright (EXIF orientation), in sRGB, with transparent parts on white. Photos of more
 * than 25 million pixels are reduced during decoding.
 * @throws {ImageError} when it cannot be read, is animated, or has an unusable size.
 * @throws {MemoryError} when the machine has too little memory to decode it.
 * @throws the signal's reason when it is aborted.
 */
export async function readPhoto(input: ImageInput, options: ReadImageOptions = {}): Promise<DecodedImage> {
  const { sink, ...image } = await read(input, "photo", (layout) => new PhotoLevels(layout), options);
  return { ...image, data: sink.finish(), channels: 3, warnings: [] };
}

/**
 * Reads a depth map: one channel, upright, values as stored (no colour management), with all 16 bits. Maps of more than
 * 25 million pixels are reduced during decoding, to about 10 bits.
 * @throws as {@link readPhoto}, and {ImageError} when the map is partly transparent or shows no relief.
 */
export async function readDepthMap(input: ImageInput, options: ReadImageOptions = {}): Promise<DecodedImage> {
  const name = nameOf(input, "map");
  const { sink, ...image } = await read(input, "map", (layout) => new MapLevels(layout, name), options);
  const warnings = sink.isColoured
    ? [`${name} is in colour, but a depth map is grey: its luminance is used.`]
    : [];
  return { ...image, data: sink.finish(), channels: 1, warnings };
}

/**
 * Reads a mask: one channel, upright, values as stored. White and transparent parts are 1.
 * @throws as {@link readPhoto}, and {ImageError} when it is black everywhere.
 */
export async function readMask(input: ImageInput, options: ReadImageOptions = {}): Promise<DecodedImage> {
  const name = nameOf(input, "mask");
  const { sink, ...image } = await read(input, "mask", (layout) => new MaskLevels(layout, name), options);
  const warnings = sink.isColoured
    ? [
        `${name} is in colour, but a mask is grey: its luminance is used, and only white parts change completely.`,
      ]
    : [];
  return { ...image, data: sink.finish(), channels: 1, warnings };
}

/**
 * Checks that an image can be decoded, and discards the pixels.
 * @throws as {@link readPhoto}
 */
export async function checkDecodable(bytes: Uint8Array, options: ReadImageOptions = {}): Promise<void> {
  await read(bytes, "photo", () => ({ write() {} }), options);
}

/** Names in messages for images without a file. */
const unnamed: Readonly<Record<ImageRole, string>> = {
  photo: "the photo",
  map: "the depth map",
  mask: "the mask",
};

const nameOf = (input: ImageInput, role: ImageRole): string =>
  typeof input === "string" ? input : unnamed[role];

/** An image whose pixels a sink has taken. */
interface Taken<Sink> extends Omit<DecodedImage, "data" | "channels" | "warnings"> {
  readonly sink: Sink;
}

type SinkOf<Sink extends LevelSink> = (layout: PixelLayout) => Sink;

async function read<Sink extends LevelSink>(
  input: ImageInput,
  role: ImageRole,
  sinkOf: SinkOf<Sink>,
  { signal }: ReadImageOptions,
): Promise<Taken<Sink>> {
  signal?.throwIfAborted();
  const name = nameOf(input, role);
  if (typeof input !== "string" && !(input instanceof Uint8Array))
    return takeRaw(input, name, sinkOf, signal);
  if (typeof input !== "string" && input.byteLength > mostBytesInMemory)
    throw new ImageError(
      name,
      `has ${describeBytes(input.byteLength)}; give the path of its file, because images in memory may have ${describeBytes(mostBytesInMemory)}.`,
    );
  const bytes = typeof input === "string" ? await readIfSmall(input, signal) : input;
  if (bytes && bytes.byteLength <= mostQuickBytes) {
    const image = await untilAborted(openEncoded(bytes, bytesSource(bytes), name, role), signal);
    if (isQuick(image)) return takeHere(image, bytes, sinkOf, signal);
  }
  const { header, sink } = await decodeInProcess(
    input,
    { name, role },
    (decoded) => sinkOf(layoutOf(decoded)),
    signal,
  );
  return { ...factsOf(header), source: name, sink };
}

/** The decoder's process holds another copy of encoded bytes. */
const mostBytesInMemory = 200e6;

/** Larger files and images take noticeable time: decoders need up to 0.3 s for this many pixels. */
const mostQuickBytes = 16e6;
const mostQuickPixels = 4.2e6;

const isQuick = ({ width, height, isProgressive }: EncodedImage): boolean =>
  width * height <= mostQuickPixels && !isProgressive;

/** Reads a file that is small enough to be decoded here; null if it is larger. */
async function readIfSmall(path: string, signal: AbortSignal | undefined): Promise<Buffer | null> {
  try {
    const { file, size } = await openRegularFile(path, largestFile);
    await file.close();
    return size > mostQuickBytes ? null : await readRegularFile(path, { limit: largestFile, signal });
  } catch (error) {
    throw imageFileError(path, error);
  }
}

async function takeHere<Sink extends LevelSink>(
  image: EncodedImage,
  encoded: Uint8Array,
  sinkOf: SinkOf<Sink>,
  signal: AbortSignal | undefined,
): Promise<Taken<Sink>> {
  const { bytes, ...pixels } = await untilAborted(decodePixels(image), signal);
  const { width, height, exif } = image;
  const sha256 = createHash("sha256").update(encoded).digest("hex");
  const header: DecodedHeader = { ...pixels, original: { width, height }, sha256, exif };
  const sink = sinkOf(layoutOf(header));
  sink.write(pixels.deep ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2) : bytes);
  return { ...factsOf(header), source: image.name, sink };
}

const layoutOf = ({ width, height, channels, deep }: DecodedHeader): PixelLayout => ({
  width,
  height,
  channels,
  white: deep ? 65535 : 255,
});

const factsOf = ({ width, height, original, sha256, exif }: DecodedHeader) => ({
  width,
  height,
  original,
  sha256,
  ...(exif && { exif }),
});

async function takeRaw<Sink extends LevelSink>(
  raw: RawImage,
  name: string,
  sinkOf: SinkOf<Sink>,
  signal: AbortSignal | undefined,
): Promise<Taken<Sink>> {
  const layout = rawLayout(raw, name);
  const sink = sinkOf(layout);
  const sha256 = await readRaw(raw, layout, sink, name, signal);
  const { width, height } = layout;
  const original = { width: raw.width, height: raw.height };
  return { source: name, width, height, original, sha256, sink };
}

/**
 * Reads an image's format, size and EXIF block without decoding it.
 * @throws {ImageError} when it cannot be read.
 */
export async function inspectImage(
  path: string,
): Promise<{ format: string; width: number; height: number; exif: Uint8Array | undefined }> {
  const { file, size } = await openRegularFile(path, largestFile).catch((error: unknown) => {
    throw imageFileError(path, error);
  });
  try {
    const { info } = await readHeader(path, fileSource(file, size), path);
    return { format: info.format, width: info.width, height: info.height, exif: info.exif };
  } finally {
    await file.close();
  }
}
