import type { FastifyInstance } from "fastify";
import type { JobBody } from "../../contract/index.js";
import { whileConnected } from "../client.js";
import { answers, json, query } from "../components.js";
import type { Context } from "../context.js";
import { jobBodySchema } from "../job-schema.js";
import { documentedForm } from "../openapi.js";
import { pictureFields, readJobForm, submissionOf } from "../submission.js";

export function planRoutes(app: FastifyInstance, { service }: Context): void {
  app.post<{ Body: JobBody }>(
    "/v1/plan",
    {
      config: { documentedBody: documentedForm("job", jobBodySchema, [...pictureFields]) },
      preValidation: readJobForm(service),
      schema: {
        tags: ["Jobs"],
        summary: "Estimate what a job would need; starts nothing",
        operationId: "planJob",
        querystring: query(),
        body: jobBodySchema,
        response: answers({ 200: json("The plan", "Plan") }),
      },
    },
    async (request, reply) => {
      const connected = whileConnected(reply);
      const { body } = await submissionOf(request.body, request, service);
      return service.atOnce.plan(body, connected);
    },
  );
}
