/*
 * Bodies that are a file, whatever their Content-Type says.
 */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpError } from "./error.js";

/** Hands the bodies of a scope's routes on as streams. The length that a client announces is checked before. */
export function acceptAnyBody(scope: FastifyInstance, except: readonly string[] = []): void {
  scope.removeContentTypeParser(["application/json", "text/plain"]);
  if (!except.includes("multipart/form-data") && scope.hasContentTypeParser("multipart/form-data"))
    scope.removeContentTypeParser("multipart/form-data");
  scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  scope.addHook("preParsing", async (request) => {
    const length = Number(request.headers["content-length"] ?? 0);
    if (length > request.routeOptions.bodyLimit)
      throw new HttpError(413, "too_large", "The picture is too large.");
  });
}

/** The body as a stream. @throws {HttpError} 400 without one. */
export function pictureBody(request: FastifyRequest): Readable {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (encoding === undefined && (length === undefined || length === "0"))
    throw new HttpError(400, "missing", "The body is empty; send the file of a picture.");
  // Without a Content-Type no parser is called.
  return (request.body as Readable | undefined) ?? request.raw;
}
