import type { FastifyInstance } from "fastify";
import { answers, file, json, query } from "../components.js";
import type { Context } from "../context.js";

const tags = ["Server"];

/** Probes, metrics and the description of the interface. */
export function serverRoutes(app: FastifyInstance, { service, metrics, stopping }: Context): void {
  app.get(
    "/livez",
    {
      config: { openness: "probe" },
      schema: {
        tags,
        summary: "Whether the process answers",
        operationId: "getLiveness",
        security: [],
        querystring: query(),
        response: answers({ 200: file("It does", "text/plain") }),
      },
    },
    async (_request, reply) => reply.type("text/plain").send("ok\n"),
  );

  app.get(
    "/readyz",
    {
      config: { openness: "probe" },
      schema: {
        tags,
        summary: "Whether jobs can be accepted and run",
        operationId: "getReadiness",
        security: [],
        querystring: query(),
        response: answers({ 200: json("They can", "Readiness"), 503: json("They cannot", "Readiness") }),
      },
    },
    async (_request, reply) => {
      const { ready, checks } = await service.health();
      const isReady = ready && !stopping.aborted;
      return reply
        .code(isReady ? 200 : 503)
        .header("cache-control", "no-store")
        .send({ ready: isReady, checks });
    },
  );

  app.get(
    "/metrics",
    {
      schema: {
        tags,
        summary: "Figures for Prometheus",
        operationId: "getMetrics",
        querystring: query(),
        response: answers({ 200: file("Prometheus's text format", "text/plain") }),
      },
    },
    async (_request, reply) => {
      metrics.setJobs(service.queue.counts());
      metrics.setWorkers(service.workers.list());
      const redis = await service.queue.redis();
      if (redis) metrics.setRedis(redis);
      return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
    },
  );

  app.get(
    "/openapi.json",
    {
      schema: {
        tags,
        summary: "This description",
        operationId: "getOpenApi",
        querystring: query(),
        response: answers({ 200: json("OpenAPI 3.1", "OpenApi") }),
      },
    },
    async () => app.swagger(),
  );
}
