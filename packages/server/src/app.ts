/*
 * The HTTP application: the rules that all requests obey, and the routes.
 */
import cookie = require("@fastify/cookie");
import helmet = require("@fastify/helmet");
import multipart = require("@fastify/multipart");
import rateLimit = require("@fastify/rate-limit");
import fastify = require("fastify");

import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import { checkHost, checkOrigin, isLoopback } from "./http/access.js";
import type { Context } from "./http/context.js";
import { HttpError } from "./http/error.js";
import { answerBadUrl, answerClientError, answerErrors, refuseUnknownRoutes } from "./http/error-answers.js";
import { watchFailures } from "./http/failures.js";
import { parseJson } from "./http/json-body.js";
import { type Logger, logRequests } from "./http/logging.js";
import { describeRoutes } from "./http/openapi.js";
import { holdPictures } from "./http/pictures.js";
import { blobRoutes } from "./http/routes/blobs.js";
import { capabilityRoutes } from "./http/routes/capabilities.js";
import { depthRoutes } from "./http/routes/depth.js";
import { eventRoutes } from "./http/routes/events.js";
import { internalRoutes } from "./http/routes/internal.js";
import { jobRoutes } from "./http/routes/jobs.js";
import { modelRoutes } from "./http/routes/models.js";
import { planRoutes } from "./http/routes/plan.js";
import { queueRoutes } from "./http/routes/queue.js";
import { serverRoutes } from "./http/routes/server.js";
import { sessionRoutes } from "./http/routes/session.js";
import { workerRoutes } from "./http/routes/workers.js";
import { endSlowBodies } from "./http/slow-bodies.js";
import { Streams } from "./http/streams.js";
import { studioRoutes } from "./http/studio.js";
import { checkToken } from "./http/token-check.js";
import { refuseFields, validatorCompiler } from "./http/validation.js";
import type { WorkerTokens } from "./http/worker-tokens.js";
import { openAiRoutes } from "./openai/routes.js";
import { limits } from "./options/limits.js";

export interface AppOptions extends Omit<Context, "access" | "streams"> {
  readonly access: Omit<Context["access"], "failures">;
  /** Tokens of workers on other machines; null if none may connect. */
  readonly workerTokens: WorkerTokens | null;
  readonly log: Logger;
}

/** The longest a client may hold a connection without sending anything. */
const timeouts = { headersMs: 10_000, bodyIdleMs: 20_000, requestMs: 15 * 60_000, keepAliveMs: 15_000 };

/** Requests a minute from an address of another machine. Programs on this machine are not limited. */
const maxRequestsPerMinute = 6000;

const unsupportedType = (): HttpError =>
  new HttpError(415, "unsupported_media_type", "This route does not accept a body of this Content-Type.");

/** Builds the application; it does not listen yet. */
export async function buildApp({ log, workerTokens, ...options }: AppOptions): Promise<FastifyInstance> {
  const app = fastify.fastify({
    loggerInstance: log as FastifyBaseLogger,
    // `logRequests` writes shorter lines, without queries.
    logController: new fastify.LogController({ disableRequestLogging: true }),
    bodyLimit: limits.jsonBytes,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.keepAliveMs,
    // Trust what a proxy on this machine says about its callers; others could claim anything.
    trustProxy: "loopback",
    // We answer with error objects instead.
    return503OnClosing: false,
    // Event streams and waiting requests would delay the shutdown; they are told to end first.
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 300 },
    http: {
      headersTimeout: timeouts.headersMs,
      connectionsCheckingInterval: 2000,
      // We refuse these ourselves, with an error object.
      requireHostHeader: false,
    },
    clientErrorHandler: answerClientError,
    frameworkErrors: answerBadUrl,
  }) as unknown as FastifyInstance;

  app.setValidatorCompiler(validatorCompiler);
  // Answers are made from typed objects; their schemas are documentation.
  app.setSerializerCompiler(() => JSON.stringify);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_request, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : parseJson(body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });

  app.addHook("preParsing", async ({ headers }) => {
    if ((headers["content-encoding"] ?? "identity") !== "identity")
      throw new HttpError(415, "unsupported_media_type", "Send the body without Content-Encoding.");
  });
  app.addContentTypeParser("*", (request, _payload, done) => {
    // Some clients send a content type without a body.
    if (request.headers["content-length"] === "0") done(null);
    else done(unsupportedType());
  });

  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"], sandbox: [] },
    },
    referrerPolicy: { policy: "no-referrer" },
    // Left to the proxy that terminates TLS.
    strictTransportSecurity: false,
    xFrameOptions: { action: "deny" },
  });
  await app.register(cookie);
  await app.register(multipart, { throwFileSizeLimit: true });
  await app.register(rateLimit, {
    global: true,
    max: maxRequestsPerMinute,
    timeWindow: 60_000,
    allowList: ({ ip }) => isLoopback(ip.replace(/^::ffff:/, "")),
  });

  const context: Context = {
    ...options,
    streams: new Streams(options.metrics),
    access: { ...options.access, failures: watchFailures(app) },
  };
  answerErrors(app);
  holdPictures(app);
  logRequests(app);
  app.addHook("onRequest", async (request) => {
    const openness = request.routeOptions.config.openness ?? "api";
    if (openness === "probe") return;
    if (context.stopping.aborted)
      throw new HttpError(503, "stopping", "The server is stopping; try again.", {
        headers: { "retry-after": "5" },
      });
    // No page can have a worker's token, so the host name that a worker used does not matter.
    if (openness !== "worker") checkHost(request, context.access);
    checkOrigin(request, openness, context.access);
    if (openness === "api") await checkToken(request, context.access);
  });
  refuseUnknownRoutes(app);
  endSlowBodies(app, timeouts.bodyIdleMs);

  await describeRoutes(app);
  await app.register(async (scope) => {
    scope.addHook("preValidation", refuseFields);
    for (const routes of [
      ...[jobRoutes, eventRoutes, blobRoutes, depthRoutes, planRoutes, queueRoutes, workerRoutes],
      ...[modelRoutes, capabilityRoutes, sessionRoutes, serverRoutes, openAiRoutes],
    ])
      routes(scope, context);
  });
  if (workerTokens) await app.register(async (scope) => internalRoutes(scope, context, workerTokens));
  await app.register(async (scope) => studioRoutes(scope, context));
  return app;
}
