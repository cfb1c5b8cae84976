import { ImageError } from "../errors.js";
import { codec } from "./codec.js";
import { type EncodedImage, optionsOf } from "./encoded.js";
import { keptSize } from "./sizes.js";

/** Pixels as integers at the file's levels: 0 to 255 in a byte, or 0 to 65535 in two. */
export interface Pixels {
  readonly bytes: Buffer;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** Two bytes for each value, in the machine's order. */
  readonly deep: boolean;
}

type FailOn = "error" | "warning";

/**
 * Decodes an image: upright, in sRGB or, for maps, with its values as stored. Images that are too large to keep are
 * reduced during decoding, so that they never exist in full size.
 * @throws {ImageError} when the file is damaged.
 */
export async function decodePixels(image: EncodedImage): Promise<Pixels> {
  try {
    // libjpeg reports missing data only as a warning, but also warns of harmless things.
    return await run(image, image.format === "jpeg" ? "warning" : "error");
  } catch (error) {
    if (image.format !== "jpeg" || /premature end/i.test(String(error))) throw damaged(image, error);
  }
  return run(image, "error").catch((error: unknown) => {
    throw damaged(image, error);
  });
}

async function run(image: EncodedImage, failOn: FailOn): Promise<Pixels> {
  const { input, role, width, height, deep } = image;
  const sharp = codec();
  const kept = keptSize(image);
  let pipeline = sharp(input, { ...optionsOf(role), failOn }).autoOrient();
  if (kept.width !== width || kept.height !== height)
    pipeline = pipeline.resize(kept.width, kept.height, { fit: "fill" });
  const { data, info } = await pipeline
    .toColourspace(deep ? "rgb16" : "srgb")
    .raw({ depth: deep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });
  return { bytes: data, width: info.width, height: info.height, channels: info.channels, deep };
}

const damaged = ({ name }: EncodedImage, cause: unknown): ImageError =>
  new ImageError(
    name,
    /memory allocation/i.test(String(cause))
      ? "is stored in pieces too large to be decoded; save it with smaller strips or tiles, or as PNG."
      : "is damaged or cut off and cannot be decoded.",
    { cause },
  );
