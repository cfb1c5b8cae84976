import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { requestOptions, seedAfter } from "mflux-depth/options";
import type { JobObject, Json, JsonOptions } from "../contract/index.js";
import { ownOrigin } from "../http/access.js";
import { ClientGone, whileConnected } from "../http/client.js";
import { answers, json, query } from "../http/components.js";
import type { Context } from "../http/context.js";
import { HttpError, invalidValue } from "../http/error.js";
import { readForm } from "../http/form.js";
import { storePicture } from "../http/pictures.js";
import { refusalFor } from "../http/refusal.js";
import { hashOf } from "../http/submission.js";
import { bestOfCount } from "../options/best-of.js";
import {
  bodySchema,
  fieldOf,
  formSchema,
  type ImagesBody,
  isPictureField,
  parseField,
  pictureFields,
  sortFields,
} from "./fields.js";
import { encodedImage, requireImage, stoppingRefusal } from "./image.js";
import { imageStream } from "./image-stream.js";
import { Repeats } from "./repeats.js";
import { sizeOf } from "./size.js";

/** The prefix of a route's event names. */
type Operation = "image_generation" | "image_edit";

export function openAiRoutes(app: FastifyInstance, context: Context): void {
  const { service, stopping, access } = context;
  const repeats = new Repeats(service);
  app.addHook("onClose", async () => repeats.close());

  add("/v1/images/generations", "image_generation", "createImage");
  add("/v1/images/edits", "image_edit", "createImageEdit");

  function add(url: string, operation: Operation, operationId: string): void {
    app.post<{ Body: JsonOptions }>(
      url,
      {
        config: { documentedBody: documentedFields() },
        preValidation: readFields,
        errorHandler: (error) => {
          throw error instanceof ClientGone ? error : inTheirWords(refusalFor(error));
        },
        schema: {
          tags: ["OpenAI"],
          summary: operation === "image_edit" ? "Generate from a photo" : "Generate images",
          operationId,
          querystring: query(),
          body: bodySchema,
          response: answers({
            200: json("The images; with `stream`, server-sent events", "OpenAiImages", "text/event-stream"),
          }),
        },
      },
      async (request, reply) => handle(request, reply, operation),
    );
  }

  /** Reads a form into the equivalent JSON body. */
  async function readFields(request: FastifyRequest): Promise<void> {
    if (!request.isMultipart()) return;
    const { texts, pictures } = await readForm(request, service, isPictureField);
    const fields: Record<string, Json> = {};
    for (const [part, text] of texts) fields[fieldOf(part)] = parseField(fieldOf(part), text);
    for (const [part, blob] of pictures) {
      if (Object.hasOwn(fields, fieldOf(part)))
        throw invalidValue(fieldOf(part), `${fieldOf(part)} is given twice.`);
      fields[fieldOf(part)] = { blob };
    }
    request.body = fields;
  }

  async function handle(
    request: FastifyRequest<{ Body: JsonOptions }>,
    reply: FastifyReply,
    operation: Operation,
  ): Promise<FastifyReply> {
    const connected = whileConnected(reply);
    const body = await prepared(request, operation);
    const isRepeat = Number(request.headers["x-stainless-retry-count"] ?? 0) > 0;
    const { jobs, leave } = await repeats.join(hashOf({ operation, ...body }), isRepeat, () => start(body));
    const signal = AbortSignal.any([connected, stopping]);
    try {
      if (body.stream) await imageStream({ ...context, reply, signal, operation, body, jobs });
      else {
        const finished = await Promise.all(jobs.map((id) => withImage(id, signal)));
        await reply.send(await answerOf(finished, body, request));
      }
      leave("finished");
      return reply;
    } catch (error) {
      leave(connected.aborted || stopping.aborted ? "left" : "failed");
      // The stream has already reported the error.
      if (reply.sent) return reply;
      if (connected.aborted) throw new ClientGone();
      throw stopping.aborted ? stoppingRefusal() : error;
    }
  }

  /** Stores the pictures of a body and determines its size. */
  async function prepared(
    request: FastifyRequest<{ Body: JsonOptions }>,
    operation: Operation,
  ): Promise<ImagesBody> {
    const body = sortFields(request.body);
    const options: Record<string, Json> = { ...body.request };
    if (operation === "image_edit" && options.image === undefined)
      throw new HttpError(400, "missing", "image is missing; send the photo.", { param: "image" });
    for (const name of pictureFields) {
      const value = options[name];
      if (value !== undefined) options[name] = { blob: await storePicture(value, name, request, service) };
    }
    const shape = (options.image ?? options.depth_image) as { blob: string } | undefined;
    const photo = shape === undefined ? null : service.blobs.get(shape.blob);
    if (body.output_format === "png" && body.output_compression !== 100)
      throw invalidValue("output_compression", "output_compression is for jpeg and webp; PNG loses nothing.");
    if (body.partial_images > 0 && !body.stream)
      throw invalidValue(
        "partial_images",
        "partial_images is for stream: true; add it, or omit partial_images.",
      );
    return { ...body, request: { ...options, ...sizeOf(body.size, options, photo) } };
  }

  /** Waits for a job to finish. @throws {HttpError} if it ends without an image; the signal's reason. */
  async function withImage(id: string, signal: AbortSignal): Promise<JobObject> {
    const job = await service.finished(id, signal);
    requireImage(job);
    return job;
  }

  /** Submits the jobs of a request. @returns their ids. */
  async function start({
    n,
    request,
    load,
    stream,
    partial_images: partial,
  }: ImagesBody): Promise<readonly string[]> {
    const steps = Number(request.steps ?? requestOptions.steps.default);
    const previewEvery = stream && partial > 0 ? Math.max(1, Math.ceil(steps / (partial + 1))) : 0;
    const submit = async (options: JsonOptions): Promise<JobObject> => {
      const { job } = await service.submit({
        kind: "generate",
        request: options,
        load,
        preview_every: previewEvery,
      });
      return job;
    };
    const first = await submit(request);
    const ids = [first.id];
    try {
      for (let i = 1; i < n; i++)
        ids.push((await submit({ ...request, seed: seedAfter(first.seed!, i * bestOfCount(request)) })).id);
    } catch (error) {
      for (const id of ids) await service.cancel(id);
      throw error;
    }
    return ids;
  }

  async function answerOf(
    jobs: readonly JobObject[],
    body: ImagesBody,
    request: FastifyRequest,
  ): Promise<object> {
    const origin = ownOrigin(request, access.allowedHosts)?.origin ?? "";
    const data = await Promise.all(
      jobs.map(async (job) => {
        if (body.response_format === "url")
          return { url: `${origin}/v1/jobs/${job.id}/image?format=${body.output_format}` };
        return { b64_json: await encodedImage(service, job, body) };
      }),
    );
    const [image] = jobs.map((job) => job.image);
    return {
      created: Math.floor(Date.parse(jobs[0]!.created_at) / 1000),
      data,
      output_format: body.output_format,
      size: `${image?.width}x${image?.height}`,
    };
  }
}

const maskHint = " Send mask_image, in which what may change is white.";

/** OpenAI's bodies are flat, so a field's path is its name; and their mask means something else than ours. */
function inTheirWords(error: HttpError): HttpError {
  const { status, code, message, param, headers, cause } = error;
  const bare = (text: string): string => text.replace(/\b(request|load)\.(?=[a-z])/g, "");
  const hint = code === "unknown_field" && param === "mask" ? maskHint : "";
  return new HttpError(status, code, bare(message) + hint, {
    param: param === null ? null : bare(param),
    headers,
    cause,
  });
}

/** The body in JSON, or as a form whose pictures may be files. */
const documentedFields = (): Readonly<Record<string, unknown>> => ({
  content: {
    "application/json": { schema: bodySchema },
    "multipart/form-data": { schema: formSchema },
  },
});
