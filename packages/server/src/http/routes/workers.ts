import type { FastifyInstance } from "fastify";
import { answers, idParams, json, query } from "../components.js";
import type { Context } from "../context.js";

const tags = ["Workers"];

export function workerRoutes(app: FastifyInstance, { service }: Context): void {
  app.get(
    "/v1/workers",
    {
      schema: {
        tags,
        summary: "List workers",
        operationId: "listWorkers",
        querystring: query(),
        response: answers({ 200: json("The workers", "Workers") }),
      },
    },
    async () => ({ data: service.workers.list() }),
  );

  const change = (summary: string, operationId: string): object => ({
    tags,
    summary,
    operationId,
    params: idParams,
    querystring: query(),
    response: answers({ 200: json("The worker", "Worker") }),
  });
  app.post<{ Params: { id: string } }>(
    "/v1/workers/:id/drain",
    { schema: change("Let a worker finish its job and take no more", "drainWorker") },
    async ({ params }) => service.workers.drain(params.id),
  );
  app.post<{ Params: { id: string } }>(
    "/v1/workers/:id/resume",
    { schema: change("Let a worker take jobs again", "resumeWorker") },
    async ({ params }) => service.workers.resume(params.id),
  );
}
