/* Bodies that are a file, whatever their Content-Type. */
import { PassThrough, type Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpError } from "./error.js";

/** Passes the bodies of a scope's routes on as streams, after checking the announced length. */
export function acceptAnyBody(scope: FastifyInstance, except: readonly string[] = []): void {
  scope.removeContentTypeParser(["application/json", "text/plain", "*"]);
  if (!except.includes("multipart/form-data") && scope.hasContentTypeParser("multipart/form-data"))
    scope.removeContentTypeParser("multipart/form-data");
  scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  scope.addHook("preParsing", async (request) => {
    const length = Number(request.headers["content-length"] ?? 0);
    if (length > request.routeOptions.bodyLimit)
      throw new HttpError(413, "too_large", "The picture is too large.");
  });
}

/**
 * The body as a stream. Destroying the stream skips the rest of the body, so that the client can read the answer.
 * @throws {HttpError} 400 without a body.
 */
export function pictureBody({ raw }: FastifyRequest): Readable {
  const { "content-length": length, "transfer-encoding": encoding } = raw.headers;
  if (encoding === undefined && (length === undefined || length === "0"))
    throw new HttpError(400, "missing", "The body is empty; send the file of a picture.");
  const body = new PassThrough();
  raw.pipe(body);
  raw.on("close", () => {
    if (!raw.complete) body.destroy(new HttpError(400, "incomplete", "The body ended early."));
  });
  body.on("close", () => {
    raw.unpipe(body);
    raw.resume();
  });
  return body;
}

/**
 * Refuses a body that was no picture. If it came as JSON or a form, that is the reason.
 * @throws {HttpError} 415 for JSON or a form, otherwise the error.
 */
export const refusePicture =
  ({ headers }: FastifyRequest) =>
  (error: unknown): never => {
    const isWrapped = /^(application\/json|multipart\/form-data)\b/i.test(headers["content-type"] ?? "");
    if (!isWrapped || (error as { code?: unknown }).code !== "unsupported_image") throw error;
    throw new HttpError(
      415,
      "unsupported_image",
      "The body must be the picture's file itself, not JSON or a form.",
      { cause: error },
    );
  };
