import { openRegularFile } from "../files/read.js";
import type { ImageInput } from "../options/index.js";
import { bytesSource, fileSource } from "./byte-source.js";
import { openEncoded } from "./encoded.js";
import { imageFileError, largestFile } from "./file.js";
import { rawLayout } from "./raw.js";

/** Pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * The size of an image, upright, from its header alone.
 * @throws {ImageError} when it cannot be read.
 */
export async function uprightSize(input: ImageInput): Promise<Size> {
  if (input instanceof Uint8Array) return openEncoded(input, bytesSource(input), "the image", "photo");
  if (typeof input !== "string") {
    rawLayout(input, "the image");
    return input;
  }
  const { file, size } = await openRegularFile(input, largestFile).catch((error: unknown) => {
    throw imageFileError(input, error);
  });
  try {
    return await openEncoded(input, fileSource(file, size), input, "photo");
  } finally {
    await file.close();
  }
}
