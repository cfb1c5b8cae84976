/* A stream of previews and images in the format of OpenAI's clients. */
import type { FastifyReply } from "fastify";
import { reencode } from "mflux-depth/images";
import type { JobEvent, JobObject } from "../contract/index.js";
import type { Context } from "../http/context.js";
import { errorBody } from "../http/error.js";
import type { EventStream } from "../http/event-stream.js";
import { refusalFor } from "../http/refusal.js";
import type { PreviewPicture } from "../jobs/service.js";
import type { ImagesBody } from "./fields.js";
import { encodedImage, requireImage, stoppingRefusal } from "./image.js";

export interface ImageStreamOptions extends Context {
  readonly reply: FastifyReply;
  /** Aborted when the reader disconnects. */
  readonly signal: AbortSignal;
  readonly operation: "image_generation" | "image_edit";
  readonly body: ImagesBody;
  readonly jobs: readonly string[];
}

/**
 * Streams the previews and images of jobs, one job after another.
 * @throws {HttpError} 503 if too many streams are open; the signal's reason, or why a job has no image, after telling the client.
 */
export async function imageStream(options: ImageStreamOptions): Promise<void> {
  const { reply, stopping, streams, jobs } = options;
  const stream = streams.open(reply);
  try {
    for (const id of jobs) await follow(id, stream, options);
  } catch (error) {
    const reason = stopping.aborted ? stoppingRefusal() : refusalFor(error);
    stream.send({ event: "error", data: errorBody(reason) });
    throw error;
  } finally {
    stream.end();
  }
}

async function follow(id: string, stream: EventStream, options: ImageStreamOptions): Promise<void> {
  const { service, signal, operation, body } = options;
  const common = (job: JobObject): object => ({
    created_at: Math.floor(Date.parse(job.created_at) / 1000),
    output_format: body.output_format,
    background: "opaque",
    quality: "auto",
  });
  let sent = 0;
  /** Previews are encoded one after another. */
  let work = Promise.resolve();
  const sendPreview = async ({ bytes, width, height }: PreviewPicture, index: number): Promise<void> => {
    if (signal.aborted) return;
    const encoded = await reencode(bytes, body.output_format);
    stream.send({
      event: `${operation}.partial_image`,
      data: {
        type: `${operation}.partial_image`,
        ...common(service.get(id)),
        size: `${width}x${height}`,
        partial_image_index: index,
        b64_json: Buffer.from(encoded).toString("base64"),
      },
    });
  };
  const unsubscribe = service.subscribe(id, ({ event, data }: JobEvent) => {
    if (event !== "preview" || sent >= body.partial_images) return;
    const index = sent++;
    // Read it now: the next preview replaces it.
    const picture = service.results.preview(id, data.step);
    work = work.then(() => sendPreview(picture, index));
    // Awaiting `work` reports the failure.
    work.catch(() => {});
  });
  try {
    const job = await service.finished(id, signal);
    await work;
    requireImage(job);
    stream.send({
      event: `${operation}.completed`,
      data: {
        type: `${operation}.completed`,
        ...common(job),
        size: `${job.image?.width}x${job.image?.height}`,
        b64_json: await encodedImage(service, job, body),
      },
    });
  } finally {
    unsubscribe();
  }
}
