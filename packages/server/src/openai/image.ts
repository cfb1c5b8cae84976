import { reencode } from "mflux-depth/images";
import type { JobObject } from "../contract/index.js";
import { HttpError } from "../http/error.js";
import { statusOf } from "../http/refusal.js";
import type { JobService } from "../jobs/service.js";
import type { ImagesBody } from "./fields.js";

/** The image of a job in base64, in the format that the body requests. */
export async function encodedImage(service: JobService, job: JobObject, body: ImagesBody): Promise<string> {
  const { bytes, mime } = await service.results.image(job.id);
  const { output_format: format, output_compression: compression } = body;
  const encoded =
    mime === `image/${format}` && format === "png"
      ? bytes
      : await reencode(bytes, format, { quality: Math.max(1, compression) });
  return Buffer.from(encoded).toString("base64");
}

/** @throws {HttpError} for a job that ended without an image. */
export function requireImage({ state, error }: JobObject): void {
  if (state === "succeeded") return;
  if (state === "cancelled") throw new HttpError(409, "cancelled", "The job was cancelled.");
  const { code, message, param } = error ?? {
    code: "internal_error",
    message: "The job failed.",
    param: null,
  };
  throw new HttpError(statusOf(code), code, message, { param });
}

/** The refusal for requests that are waiting when the server stops. */
export const stoppingRefusal = (): HttpError =>
  new HttpError(503, "stopping", "The server is stopping; its jobs continue later.");
