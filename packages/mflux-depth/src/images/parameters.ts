import { bytesSource } from "./byte-source.js";
import { codec } from "./codec.js";
import { readHeader } from "./encoded.js";
import { isTooDeep, type PictureParameters, readParameters, toComment } from "./metadata.js";

/**
 * Reads the parameters that an image was generated with, under the names of `PictureParameters`: from images written by
 * any version of mflux-depth, or by mflux. The values are unchecked.
 * @returns undefined when there are none.
 * @throws {ImageError} when the bytes are not an image that can be read.
 */
export async function parametersIn(
  bytes: Uint8Array,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const { info } = await readHeader(bytes, bytesSource(bytes), "the picture");
  const parameters = readParameters(info.exif);
  return isTooDeep(parameters) ? undefined : parameters;
}

/**
 * Changes the parameters in a PNG image without touching its pixels.
 * @param change receives the current parameters, unchecked.
 * @throws {ImageError} when the bytes are not an image that can be read.
 */
export async function changeParameters(
  png: Uint8Array,
  change: (parameters: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>,
): Promise<Uint8Array> {
  const parameters = change((await parametersIn(png)) ?? {}) as unknown as PictureParameters;
  const sharp = codec();
  return sharp(png)
    .withExifMerge({ IFD2: { UserComment: toComment(parameters) } })
    .png()
    .toBuffer();
}
