/*
 * The log: one line of JSON on standard error for each request and each change of a job. It never contains tokens,
 * cookies or queries, and contains prompts only on request.
 */
import type { Writable } from "node:stream";
import type { FastifyInstance } from "fastify";

import pino = require("pino");

import type { Logger } from "pino";
import type { JobService, StreamEvent } from "../jobs/service.js";

export type { Logger };

export const logTo = (stream: Writable): Logger =>
  pino.pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (level) => ({ level }) } },
    stream,
  );

/** Logs every request once it has been answered or its client has disconnected. */
export function logRequests(app: FastifyInstance): void {
  app.addHook("onRequest", async (request, reply) => {
    const began = performance.now();
    reply.raw.once("close", () => {
      const { statusCode, writableFinished } = reply.raw;
      // Workers report every step.
      const isRoutine = request.routeOptions.config.openness === "worker" && statusCode < 400;
      request.log[isRoutine ? "debug" : "info"](
        {
          method: request.method,
          path: request.url.split("?")[0]?.slice(0, 200),
          status: statusCode,
          ms: Math.round(performance.now() - began),
          ...(!writableFinished && { aborted: true }),
        },
        "request",
      );
    });
  });
}

const transitions = new Set(["queued", "started", "resumed", "succeeded", "failed", "cancelled", "deleted"]);

/** Logs every change of a job's state. @returns a function that ends it. */
export function logJobs(
  service: JobService,
  log: Logger,
  options: { readonly prompts: boolean },
): () => void {
  return service.observe((event: StreamEvent) => {
    if (!transitions.has(event.event) || event.event === "queue") return;
    const { data } = event;
    const id = "job" in data ? data.job : data.result.id;
    log.info(
      {
        job: id,
        state: event.event,
        ...("attempt" in data && { attempt: data.attempt }),
        ...("result" in data && data.result.error && { error: data.result.error.code }),
        ...(options.prompts && event.event === "queued" && { prompt: service.get(id).request.prompt }),
      },
      "job",
    );
  });
}
