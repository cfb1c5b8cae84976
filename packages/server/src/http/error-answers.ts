/*
 * Answers with error objects, wherever an error arises: in a handler, in Fastify, or before a request was understood.
 */
import type { Socket } from "node:net";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ClientGone } from "./client.js";
import { errorBody, errorHeaders, HttpError, notFound } from "./error.js";
import { refusalFor } from "./refusal.js";

export function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    if (error instanceof ClientGone) {
      request.log.debug("the client has left");
      return reply.hijack();
    }
    // Fastify closes the connection when it refuses a body, so clients that are still sending would miss the answer.
    // Without its header, Node skips the rest of the body.
    reply.removeHeader("connection");
    const refusal = refusalFor(error);
    if (refusal.status >= 500) request.log.error({ err: refusal.cause ?? refusal }, refusal.message);
    return answer(reply, refusal);
  });
}

/** Refuses requests that no route takes, before their bodies are read. Call it before routes are added. */
export function refuseUnknownRoutes(app: FastifyInstance): void {
  /** The methods of each path, for 405. */
  const routes = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>();
  app.addHook("onRoute", ({ url, method }) => {
    const known = routes.get(url) ?? { pattern: patternOf(url), methods: new Set() };
    for (const one of [method].flat()) known.methods.add(one);
    routes.set(url, known);
  });

  app.addHook("onRequest", async ({ is404, url, method }) => {
    if (!is404) return;
    const path = url.split("?")[0]!;
    const matching = [...routes.values()].filter(({ pattern }) => pattern.test(path));
    if (matching.length === 0) throw noRoute();
    const allow = [...new Set(matching.flatMap(({ methods }) => [...methods]))].sort().join(", ");
    const message = `${method} is not possible here; use ${allow}.`;
    throw new HttpError(405, "method_not_allowed", message, { headers: { allow } });
  });

  // Called by routes of folders for a file that is not there.
  app.setNotFoundHandler(async () => {
    throw noRoute();
  });
}

const noRoute = (): HttpError => notFound("There is no such route.");

/** Answers a request whose URL has no route because it cannot be decoded. No hook has set headers. */
export function answerBadUrl(error: Error, _request: FastifyRequest, reply: FastifyReply): void {
  answer(reply.headers(protectiveHeaders), refusalFor(error));
}

/** For answers that bypass the hooks. */
const protectiveHeaders = { "x-content-type-options": "nosniff", "referrer-policy": "no-referrer" } as const;

const answer = (reply: FastifyReply, error: HttpError): FastifyReply =>
  reply.code(error.status).headers(errorHeaders(error)).type("application/json").send(errorBody(error));

/** "/v1/jobs/:id" as an expression for paths. */
const patternOf = (url: string): RegExp =>
  new RegExp(`^${url.replaceAll(".", "\\.").replaceAll("*", ".+").replace(/:\w+/g, "[^/]+")}$`);

const clientErrors: Readonly<Record<string, readonly [status: number, code: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, "too_large", "The headers are too large."],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "timeout", "The request did not arrive in time."],
};

/** Answers bytes that are not a request, or a request that did not arrive in time, and closes the connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, code, message] = clientErrors[error.code ?? ""] ?? [
    400,
    "malformed_request",
    "This is not an HTTP request.",
  ];
  writeAnswer(socket, new HttpError(status, code, message));
}

/** Writes an answer to a connection that Fastify has no request for. */
export function writeAnswer(socket: Socket, error: HttpError): void {
  const body = JSON.stringify(errorBody(error));
  const headers = {
    ...errorHeaders(error),
    "content-type": "application/json",
    "content-length": `${Buffer.byteLength(body)}`,
    ...protectiveHeaders,
    connection: "close",
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${error.status} Error\r\n${lines.join("")}\r\n${body}`);
}
