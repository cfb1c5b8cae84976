/* Prepares the body of a job, JSON or form, for the service: checks it and stores its pictures. */
import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { isRecord, toJsonName } from "mflux-depth/options";
import type { JobBody, Json } from "../contract/index.js";
import type { JobService } from "../jobs/service.js";
import { pictureNames, requestTables } from "../options/tables.js";
import { invalidValue } from "./error.js";
import { type Form, readForm } from "./form.js";
import { parseJson } from "./json-body.js";
import { storePicture } from "./pictures.js";

export interface Submission {
  readonly body: JobBody;
  /** Equal for bodies with the same content, however they were sent. */
  readonly bodyHash: string;
}

/** The fields with pictures, which are files in forms. */
export const pictureFields: ReadonlySet<string> = new Set(
  Object.values(requestTables).flatMap(pictureNames).map(toJsonName),
);

/**
 * A hook that reads a form into the equivalent JSON body, so that one schema checks both.
 * @throws {HttpError} 400 for a form without the part `job`, or with unknown parts.
 */
export const readJobForm =
  (service: JobService) =>
  async (request: FastifyRequest): Promise<void> => {
    if (!request.isMultipart()) return;
    const { texts, pictures } = await readForm(request, service, (name) => pictureFields.has(name));
    const unknown = [...texts.keys()].find((name) => name !== "job");
    if (unknown !== undefined)
      throw invalidValue(
        unknown,
        `The form has a part ${unknown}; it takes job (JSON) and ${[...pictureFields].join(", ")} (files).`,
      );
    const text = texts.get("job");
    if (text === undefined)
      throw invalidValue("job", "The form lacks the part job, which holds the job as JSON.");
    request.body = withPictures(parseJson(Buffer.from(text), "job"), pictures);
  };

/** Merges the pictures of a form into its job. The schema refuses anything invalid. */
function withPictures(job: unknown, pictures: Form["pictures"]): unknown {
  if (!isRecord(job) || !isRecord(job.request)) return job;
  const request: Record<string, unknown> = { ...job.request };
  for (const [name, blob] of pictures) {
    if (Object.hasOwn(request, name))
      throw invalidValue(`request.${name}`, `${name} is given twice: in the part job and as a file.`);
    request[name] = { blob };
  }
  return { ...job, request };
}

/** Stores the pictures of a checked body. @throws {HttpError} for an unusable picture. */
export async function submissionOf(
  body: JobBody,
  request: FastifyRequest,
  service: JobService,
): Promise<Submission> {
  const options: Record<string, Json> = { ...body.request };
  for (const name of pictureNames(requestTables[body.kind]).map(toJsonName)) {
    const value = options[name];
    if (value !== undefined && value !== null)
      options[name] = { blob: await storePicture(value, `request.${name}`, request, service) };
  }
  const ready = { ...body, request: options };
  return { body: ready, bodyHash: hashOf(ready) };
}

/** A hash of a JSON value, independent of the order of fields. */
export const hashOf = (value: unknown): string =>
  createHash("sha256")
    .update(JSON.stringify(value, (_, part: unknown) => (isRecord(part) ? sorted(part) : part)))
    .digest("hex");

const sorted = (value: object): object =>
  Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
