import type { FastifyInstance } from "fastify";
import { answers, json, query } from "../components.js";
import type { Context } from "../context.js";

const tags = ["Queue"];

export function queueRoutes(app: FastifyInstance, { service }: Context): void {
  const schema = (summary: string, operationId: string): object => ({
    tags,
    summary,
    operationId,
    querystring: query(),
    response: answers({ 200: json("The queue", "Queue") }),
  });
  app.get("/v1/queue", { schema: schema("The state of the queue", "getQueue") }, async () =>
    service.queue.state(),
  );
  app.post("/v1/queue/pause", { schema: schema("Start no more jobs", "pauseQueue") }, async () =>
    service.queue.pause(),
  );
  app.post("/v1/queue/resume", { schema: schema("Start jobs again", "resumeQueue") }, async () =>
    service.queue.resume(),
  );
}
