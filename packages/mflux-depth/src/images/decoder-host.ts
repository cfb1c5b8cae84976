/*
 * The decoder's process: decodes one image and ends. Native decoders cannot be interrupted, and a thread in one of them
 * keeps its process from exiting; a separate process can be killed at any time.
 */
import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { serializeError } from "../errors.js";
import { openRegularFile } from "../files/read.js";
import { bytesSource, fileSource } from "./byte-source.js";
import { codec } from "./codec.js";
import type { DecodeOrder, FromDecoder } from "./decoder-protocol.js";
import { type EncodedImage, openEncoded, requireDecodable } from "./encoded.js";
import { imageFileError, largestFile } from "./file.js";
import { decodePixels } from "./pixels.js";

// Ends the process at once, even while a decoder works.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
// Ctrl-C reaches every process of a terminal; the owner decides how to react.
process.on("SIGINT", () => {});
// The owner stopped reading.
process.stdout.on("error", () => process.kill(process.pid, "SIGKILL"));
process.once("message", (order: DecodeOrder) => void decode(order));

async function decode(order: DecodeOrder): Promise<void> {
  try {
    codec().cache(false);
    const { image, sha256 } = await open(order);
    requireDecodable(image);
    const { bytes, ...pixels } = await decodePixels(image);
    const { width, height, exif } = image;
    await tell({ type: "header", header: { ...pixels, original: { width, height }, sha256, exif } });
    await new Promise<void>((resolve) => process.stdout.end(bytes, resolve));
  } catch (error) {
    await tell({ type: "error", error: serializeError(error) });
  }
}

async function open({ input, name, role }: DecodeOrder): Promise<{ image: EncodedImage; sha256: string }> {
  if (typeof input === "number") {
    const bytes = await readInput(input);
    const image = await openEncoded(bytes, bytesSource(bytes), name, role);
    return { image, sha256: createHash("sha256").update(bytes).digest("hex") };
  }
  const { file, size } = await openRegularFile(input, largestFile).catch((error: unknown) => {
    throw imageFileError(input, error);
  });
  try {
    const image = await openEncoded(input, fileSource(file, size), name, role);
    const hash = createHash("sha256");
    await pipeline(file.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 }), hash);
    return { image, sha256: hash.digest("hex") };
  } finally {
    await file.close();
  }
}

/** Reads bytes into one preallocated buffer: collecting chunks would hold them twice. */
async function readInput(byteLength: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(byteLength);
  let at = 0;
  for await (const chunk of process.stdin) at += (chunk as Buffer).copy(bytes, at);
  return bytes.subarray(0, at);
}

const tell = (message: FromDecoder): Promise<void> =>
  new Promise((resolve) => {
    process.send!(message, undefined, undefined, () => resolve());
  });
