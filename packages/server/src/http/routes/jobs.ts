import type { FastifyInstance } from "fastify";
import {
  type JobBody,
  type JobKind,
  type JobObject,
  type JobState,
  jobKinds,
  jobStates,
} from "../../contract/index.js";
import { whileConnected } from "../client.js";
import { answers, empty, file, idParams, json, query } from "../components.js";
import type { Context } from "../context.js";
import { invalidValue } from "../error.js";
import { checkPreviews, jobBodySchema, prioritySchema } from "../job-schema.js";
import { documentedForm } from "../openapi.js";
import {
  type ImageFormat,
  imageFormats,
  type MapFormat,
  mapFormats,
  sendMap,
  sendPicture,
} from "../picture-answer.js";
import { pictureFields, readJobForm, submissionOf } from "../submission.js";

const maxWait = 300;
const tags = ["Jobs"];

interface Id {
  Params: { id: string };
}

export function jobRoutes(app: FastifyInstance, { service, stopping }: Context): void {
  app.post<{ Querystring: { wait?: number }; Body: JobBody }>(
    "/v1/jobs",
    {
      config: { documentedBody: documentedForm("job", jobBodySchema, [...pictureFields]) },
      preValidation: readJobForm(service),
      schema: {
        tags,
        summary: "Submit a job",
        operationId: "createJob",
        querystring: query({
          wait: {
            type: "number",
            minimum: 0,
            maximum: maxWait,
            description: "Seconds to wait for the job to finish.",
          },
        }),
        headers: {
          type: "object",
          properties: {
            "idempotency-key": { type: "string", description: "Makes a repeat return the first job." },
          },
        },
        body: jobBodySchema,
        response: answers({
          200: json("The finished job, or the first one of a repeat", "Job"),
          202: json("The job was accepted", "Job"),
        }),
      },
    },
    async (request, reply) => {
      const connected = whileConnected(reply);
      const idempotencyKey = idempotencyKeyOf(request.headers["idempotency-key"]);
      checkPreviews(request.body);
      const { body, bodyHash } = await submissionOf(request.body, request, service);
      const { job, created } = await service.submit(body, { idempotencyKey, bodyHash });
      reply.header("location", `/v1/jobs/${job.id}`);
      const { wait = 0 } = request.query;
      const latest = wait > 0 ? await finishedWithin(job, wait, connected) : job;
      return reply.code(!created || (wait > 0 && isFinished(latest)) ? 200 : 202).send(latest);
    },
  );

  /** The job once it has finished, or as it is when the time is up. */
  async function finishedWithin(job: JobObject, seconds: number, connected: AbortSignal): Promise<JobObject> {
    const timeout = AbortSignal.timeout(seconds * 1000);
    const signal = AbortSignal.any([timeout, stopping, connected]);
    return service.finished(job.id, signal).catch((error: unknown) => {
      if (timeout.aborted || stopping.aborted) return service.get(job.id);
      throw error;
    });
  }

  interface ListQuery {
    state?: JobState[];
    kind?: JobKind;
    starred?: boolean;
    q?: string;
    limit?: number;
    cursor?: string;
  }
  app.get<{ Querystring: ListQuery }>(
    "/v1/jobs",
    {
      schema: {
        tags,
        summary: "List jobs, newest first",
        operationId: "listJobs",
        querystring: query({
          state: { type: "array", items: { enum: jobStates }, description: "May be repeated." },
          kind: { type: "string", enum: jobKinds },
          starred: { type: "boolean" },
          q: { type: "string", maxLength: 200, description: "Words in prompts, whatever their case." },
          limit: { type: "integer", minimum: 1, maximum: 200, default: 50 },
          cursor: { type: "string", maxLength: 200, description: "`next_cursor` of the page before." },
        }),
        response: answers({ 200: json("A page of jobs", "JobPage") }),
      },
    },
    async ({ query: { state, ...filter } }) => service.list({ ...filter, states: state }),
  );

  app.get<Id>(
    "/v1/jobs/:id",
    {
      schema: {
        tags,
        summary: "Get a job",
        operationId: "getJob",
        params: idParams,
        querystring: query(),
        response: answers({ 200: json("The job", "Job") }),
      },
    },
    async ({ params }) => service.get(params.id),
  );

  app.patch<Id & { Body: { starred?: boolean; priority?: number } }>(
    "/v1/jobs/:id",
    {
      schema: {
        tags,
        summary: "Star a job, or change the priority of a queued one",
        operationId: "updateJob",
        params: idParams,
        querystring: query(),
        body: {
          type: "object",
          properties: { starred: { type: "boolean" }, priority: prioritySchema },
          additionalProperties: false,
          minProperties: 1,
        },
        response: answers({ 200: json("The job", "Job") }),
      },
    },
    async ({ params, body }) => service.update(params.id, body),
  );

  app.delete<Id>(
    "/v1/jobs/:id",
    {
      schema: {
        tags,
        summary: "Delete a finished job and its artifacts",
        operationId: "deleteJob",
        params: idParams,
        querystring: query(),
        response: answers({ 204: empty("The job is gone") }),
      },
    },
    async ({ params }, reply) => {
      await service.remove(params.id);
      return reply.code(204).send();
    },
  );

  app.post<Id>(
    "/v1/jobs/:id/cancel",
    {
      schema: {
        tags,
        summary: "Cancel a job",
        operationId: "cancelJob",
        params: idParams,
        querystring: query(),
        response: answers({ 200: json("The job", "Job") }),
      },
    },
    async ({ params }) => service.cancel(params.id),
  );

  app.post<Id>(
    "/v1/jobs/:id/retry",
    {
      schema: {
        tags,
        summary: "Submit the same request with the same seed again",
        operationId: "retryJob",
        params: idParams,
        querystring: query(),
        response: answers({ 202: json("The new job", "Job") }),
      },
    },
    async ({ params }, reply) => {
      const job = await service.retry(params.id);
      return reply.code(202).header("location", `/v1/jobs/${job.id}`).send(job);
    },
  );

  const pictureQuery = query({
    format: {
      type: "string",
      enum: imageFormats,
      description: "The image format; by default, the one the picture was made in.",
    },
    width: { type: "integer", minimum: 1, maximum: 4096, description: "The width of a thumbnail." },
  });
  interface PictureQuery {
    format?: ImageFormat;
    width?: number;
  }
  const pictures = answers({
    200: file("The picture", "image/png", "image/jpeg", "image/webp"),
    304: empty("Unchanged"),
  });
  app.get<Id & { Querystring: PictureQuery }>(
    "/v1/jobs/:id/image",
    {
      schema: {
        tags,
        summary: "The best or only picture of a job",
        operationId: "getJobImage",
        params: idParams,
        querystring: pictureQuery,
        response: pictures,
      },
    },
    async ({ params, query: wanted }, reply) =>
      sendPicture(reply, await service.results.image(params.id), wanted),
  );

  app.get<{ Params: { id: string; number: number }; Querystring: PictureQuery }>(
    "/v1/jobs/:id/images/:number",
    {
      schema: {
        tags,
        summary: "One of the pictures of a job",
        operationId: "getJobImageByNumber",
        params: {
          type: "object",
          properties: { id: { type: "string" }, number: { type: "integer", minimum: 1 } },
          required: ["id", "number"],
        },
        querystring: pictureQuery,
        response: pictures,
      },
    },
    async ({ params, query: wanted }, reply) =>
      sendPicture(reply, await service.results.image(params.id, params.number), wanted),
  );

  app.get<{ Params: { id: string; step: number } }>(
    "/v1/jobs/:id/previews/:step",
    {
      schema: {
        tags,
        summary: "The latest preview of a running job",
        operationId: "getJobPreview",
        params: {
          type: "object",
          properties: { id: { type: "string" }, step: { type: "integer", minimum: 0 } },
          required: ["id", "step"],
        },
        querystring: query(),
        response: answers({ 200: file("The preview", "image/jpeg", "image/webp") }),
      },
    },
    async ({ params }, reply) => {
      const { bytes, mime } = service.results.preview(params.id, params.step);
      return reply.type(mime).header("cache-control", "private, no-store").send(Buffer.from(bytes));
    },
  );

  app.get<Id & { Querystring: { format: MapFormat } }>(
    "/v1/jobs/:id/depth",
    {
      schema: {
        tags,
        summary: "The depth map as the job used it",
        operationId: "getJobDepth",
        params: idParams,
        querystring: query({ format: { type: "string", enum: mapFormats, default: "png" } }),
        response: answers({ 200: file("The map", "image/png", "application/octet-stream") }),
      },
    },
    async ({ params, query: { format } }, reply) =>
      sendMap(reply, await service.results.depthMap(params.id), format),
  );
}

const isFinished = ({ state }: JobObject): boolean => state !== "queued" && state !== "running";

function idempotencyKeyOf(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header !== "string" || !/^[\x21-\x7e]{1,255}$/.test(header))
    throw invalidValue("Idempotency-Key", "Idempotency-Key must be 1 to 255 visible ASCII characters.");
  return header;
}
