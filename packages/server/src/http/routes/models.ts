import type { FastifyInstance } from "fastify";
import { answers, json, query } from "../components.js";
import type { Context } from "../context.js";

const tags = ["Models"];

export function modelRoutes(app: FastifyInstance, { service }: Context): void {
  app.get(
    "/v1/models",
    {
      schema: {
        tags,
        summary: "List the models that requests may name",
        operationId: "listModels",
        querystring: query(),
        response: answers({ 200: json("The models", "Models") }),
      },
    },
    async () => ({ object: "list", data: await service.catalogue.models() }),
  );

  // Names of models contain slashes.
  app.get<{ Params: { "*": string } }>(
    "/v1/models/*",
    {
      schema: {
        tags,
        summary: "Get a model",
        operationId: "getModel",
        params: { type: "object", properties: { "*": { type: "string", minLength: 1 } }, required: ["*"] },
        querystring: query(),
        response: answers({ 200: json("The model", "Model") }),
      },
    },
    async ({ params }) => service.catalogue.model(params["*"]),
  );
}
