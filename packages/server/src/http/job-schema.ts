/*
 * The schema of a job's body.
 */
import { requestOptions } from "mflux-depth/options";
import { type JobBody, type JobKind, jobKinds } from "../contract/index.js";
import { loadSchema, requestSchemas } from "../options/schemas.js";
import { HttpError } from "./error.js";

const stepsKind = requestOptions.steps.kind;

/** A schema nested in another one: only the outermost names the dialect. */
export const within = ({
  $schema: _,
  ...schema
}: Readonly<Record<string, unknown>>): Record<string, unknown> => schema;

const bodyOf = (kind: JobKind): Record<string, unknown> => ({
  type: "object",
  title: kind === "generate" ? "Generate an image" : "Estimate the depth of a photo",
  properties: {
    kind: { const: kind },
    request: within(requestSchemas[kind]),
    load: within(loadSchema),
    preview_every: {
      type: "integer",
      minimum: 0,
      maximum: kind === "generate" ? stepsKind.max : 0,
      description: "Steps from one preview to the next, at most `steps`; 0 for none.",
      default: 0,
    },
    priority: prioritySchema,
    metadata: {
      type: "object",
      description: "Data of the client's own, returned with the job.",
      maxProperties: 16,
      propertyNames: { maxLength: 64 },
      additionalProperties: { type: "string", maxLength: 512 },
    },
  },
  required: ["kind", "request"],
  additionalProperties: false,
});

export const prioritySchema = {
  type: "integer",
  minimum: -100,
  maximum: 100,
  default: 0,
  description: "Waiting jobs with a higher priority start first.",
} as const;

/** The body of `POST /v1/jobs` and `POST /v1/plan`. */
export const jobBodySchema = {
  type: "object",
  discriminator: { propertyName: "kind" },
  required: ["kind"],
  oneOf: jobKinds.map(bodyOf),
};

/** Checks rules that a schema cannot express. @throws {HttpError} 400 */
export function checkPreviews({ request, preview_every: every = 0 }: JobBody): void {
  const steps = typeof request.steps === "number" ? request.steps : requestOptions.steps.default;
  if (every > steps)
    throw new HttpError(
      400,
      "out_of_range",
      `preview_every must be at most the number of steps, ${steps}, not ${every}.`,
      {
        param: "preview_every",
      },
    );
}
