/*
 * Pictures in JSON: stored, and replaced by their ids.
 */
import type { Json } from "../contract/index.js";
import type { JobService } from "../jobs/service.js";
import { limits } from "../options/limits.js";
import { HttpError } from "./error.js";
import { asPictureOf } from "./form.js";

/**
 * Stores a picture that a body holds.
 * @param param the field's path, for refusals.
 * @returns its id.
 * @throws {HttpError} 400 `invalid_image` for damaged base64, for anything but a picture, or for a missing blob; 413 for
 * one that is too large.
 */
export async function storePicture(value: Json, param: string, service: JobService): Promise<string> {
  try {
    if (isObject(value) && typeof value.blob === "string") return service.blobs.get(value.blob).id;
    const text = isObject(value) ? value.base64 : value;
    const bytes = decodeBase64(String(text), param);
    const { blob } = await service.blobs.put(bytes, {
      bytes: limits.pictureBytes,
      pixels: limits.picturePixels,
    });
    return blob.id;
  } catch (error) {
    throw asPictureOf(param, error);
  }
}

const isObject = (value: Json): value is { readonly [name: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The bytes of base64, with or without `data:image/…;base64,` in front. */
export function decodeBase64(text: string, param: string): Uint8Array {
  const refuse = (message: string): HttpError => new HttpError(400, "invalid_image", message, { param });
  let start = 0;
  if (text.startsWith("data:")) {
    start = text.slice(0, 200).indexOf(",") + 1;
    if (!/^data:image\/[\w.+-]+(;[\w=.-]+)*;base64,$/.test(text.slice(0, start)))
      throw refuse(`${param} must be a data URL with base64: data:image/png;base64,….`);
  }
  const content = text.slice(start);
  if ((content.length / 4) * 3 > limits.pictureBytes + 3)
    throw new HttpError(413, "too_large", `${param} has more than ${limits.pictureBytes / 2 ** 20} MiB.`, {
      param,
    });
  const bytes = Buffer.from(content, "base64");
  // Node skips what is not base64; a picture with a hole would be refused later for a stranger reason.
  const digits = content.replace(/[\s=]+/g, "").length;
  if (bytes.length === 0 || bytes.length !== Math.floor((digits * 3) / 4))
    throw refuse(`${param} is not base64.`);
  return bytes;
}
