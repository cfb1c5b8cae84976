/*
 * Pictures inside requests: stored for as long as the request lasts, or for the job that it submits.
 */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { isRecord } from "mflux-depth/options";
import type { Json } from "../contract/index.js";
import type { JobService, LentPicture } from "../jobs/service.js";
import { limits } from "../options/limits.js";
import { HttpError } from "./error.js";

const pictureLimits = { bytes: limits.pictureBytes, pixels: limits.picturePixels };

/** The pictures in one request. */
class RequestPictures {
  readonly #lent: LentPicture[] = [];
  #isOver = false;

  add(lent: LentPicture): void {
    if (this.#isOver) lent[Symbol.dispose]();
    else this.#lent.push(lent);
  }

  /** Called when the request has been answered or its client has disconnected. */
  end(): void {
    this.#isOver = true;
    for (const lent of this.#lent) lent[Symbol.dispose]();
  }
}

const picturesOf = new WeakMap<FastifyRequest, RequestPictures>();

/** Releases a request's pictures when it ends, unless a job uses them. */
export function holdPictures(app: FastifyInstance): void {
  app.addHook("onRequest", async (request, { raw }) => {
    const pictures = new RequestPictures();
    picturesOf.set(request, pictures);
    raw.on("close", () => pictures.end());
  });
}

/**
 * Stores a picture until its request has been answered.
 * @returns its id.
 * @throws {ServiceError} as {@link Blobs.lend}.
 */
export async function lendPicture(
  request: FastifyRequest,
  picture: Readable | Uint8Array,
  service: JobService,
): Promise<string> {
  const lent = await service.blobs.lend(picture, pictureLimits);
  picturesOf.get(request)!.add(lent);
  return lent.blob.id;
}

/**
 * Stores a picture from a body.
 * @param param the field's path, for refusals.
 * @returns its id.
 * @throws {HttpError} 400 `invalid_image` for damaged base64, for anything but a picture, or for a missing blob; 413 for
 * one that is too large.
 */
export async function storePicture(
  value: Json,
  param: string,
  request: FastifyRequest,
  service: JobService,
): Promise<string> {
  try {
    if (isRecord(value) && typeof value.blob === "string") return service.blobs.get(value.blob).id;
    const text = isRecord(value) ? value.base64 : value;
    return await lendPicture(request, decodeBase64(String(text), param), service);
  } catch (error) {
    throw asPictureOf(param, error);
  }
}

/** Turns the refusal of a picture inside a larger body into one that names the field. 415 is for uploads only. */
export function asPictureOf(param: string, error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message: string };
  if (code === "unsupported_image" || code === "not_found")
    return new HttpError(400, "invalid_image", message, { param, cause: error });
  if (code === "image_too_large")
    return new HttpError(413, "image_too_large", message, { param, cause: error });
  return error;
}

/** The bytes of base64, with or without `data:image/…;base64,` in front. */
function decodeBase64(text: string, param: string): Uint8Array {
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
  // Node ignores characters that are not base64, and the resulting picture would be refused with a misleading reason.
  const digits = content.replace(/[\s=]+/g, "").length;
  if (bytes.length === 0 || bytes.length !== Math.floor((digits * 3) / 4))
    throw refuse(`${param} is not base64.`);
  return bytes;
}
