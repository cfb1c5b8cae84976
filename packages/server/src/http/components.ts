/*
 * JSON Schemas of the objects in answers (`contract/`), for OpenAPI.
 */
import { jobKinds, jobStates, workerStates } from "../contract/index.js";

type Schema = Readonly<Record<string, unknown>>;

const text = { type: "string" } as const;
const integer = { type: "integer" } as const;
const number = { type: "number" } as const;
const boolean = { type: "boolean" } as const;
const time = { type: "string", format: "date-time" } as const;
const options = { type: "object", additionalProperties: true } as const;

const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: "null" }] });
const list = (items: Schema): Schema => ({ type: "array", items });

/** An object that requires all of these fields. */
const object = (properties: Readonly<Record<string, Schema>>): Schema => ({
  type: "object",
  properties,
  required: Object.keys(properties),
});

/** A reference to a component. */
export const ref = (name: keyof typeof components): Schema => ({ $ref: `${name}#` });

const artifact = {
  url: text,
  width: integer,
  height: integer,
  mime: text,
  bytes: integer,
  sha256: { type: "string", pattern: "^[0-9a-f]{64}$" },
} as const;

export const components = {
  Error: object({
    error: object({
      message: text,
      type: text,
      param: { ...nullable(text), description: "The path of the field in the body." },
      code: { type: "string", description: "A stable code for the kind of error." },
    }),
  }),
  Artifact: object(artifact),
  Image: object({
    ...artifact,
    seed: nullable(integer),
    score: {
      ...nullable(object({ rmse: number, correlation: number, abs_rel: number, edge_f1: number })),
      description: "How faithfully it keeps the depth map; null unless the job compared several.",
    },
  }),
  Job: object({
    id: text,
    kind: { enum: jobKinds },
    state: { enum: jobStates },
    cancel_requested: boolean,
    priority: integer,
    starred: boolean,
    created_at: time,
    started_at: nullable(time),
    finished_at: nullable(time),
    position: {
      ...nullable(integer),
      description: "An estimate of the queued jobs ahead; null once it runs.",
    },
    attempt: integer,
    step: integer,
    steps: { ...nullable(integer), description: "The total number of steps, for all images of the job." },
    seed: { ...nullable(integer), description: "The seed of the first image." },
    request: { ...options, description: "The request with defaults filled in and pictures as blobs." },
    load: options,
    preview_every: integer,
    warnings: list(text),
    error: nullable({ $ref: "JobError#" }),
    worker: nullable(text),
    metadata: { type: "object", additionalProperties: text },
    image: nullable({ $ref: "Image#" }),
    images: list({ $ref: "Image#" }),
    depth: nullable({ $ref: "Artifact#" }),
  }),
  JobError: object({ message: text, type: text, param: nullable(text), code: text }),
  JobPage: object({ data: list({ $ref: "Job#" }), next_cursor: nullable(text) }),
  Blob: object({ id: text, mime: text, width: integer, height: integer, bytes: integer }),
  Queue: object({ paused: boolean, queued: integer, running: integer }),
  Worker: object({
    id: text,
    state: { enum: workerStates },
    model: nullable(text),
    job: nullable(text),
    device: text,
    memory_bytes: integer,
    last_seen: time,
  }),
  Workers: object({ data: list({ $ref: "Worker#" }) }),
  Model: object({
    id: text,
    object: { const: "model" },
    created: integer,
    owned_by: text,
    ready: { type: "boolean", description: "Whether all its files are on this machine." },
    bytes: nullable(integer),
    loaded: boolean,
    lora: { type: "boolean", description: "Whether it is a LoRA, for `loras` rather than `model`." },
    saved_loras: {
      ...list(object({ name: text, scale: number })),
      description:
        "LoRAs in the model's own folder. Their scales come first in a request's `lora_scales`, in this order.",
    },
  }),
  Models: object({ object: { const: "list" }, data: list({ $ref: "Model#" }) }),
  Plan: object({
    fits: boolean,
    peak_bytes: integer,
    available_bytes: integer,
    stages: list(object({ stage: text, weights_bytes: integer, working_bytes: integer })),
    estimated_seconds: nullable(number),
    alternatives: list(
      object({
        changes: { type: "object", properties: { request: options, load: options } },
        peak_bytes: integer,
      }),
    ),
    notes: list(text),
  }),
  Estimator: object({
    id: text,
    licence: { type: "string", description: "Of the weights, in a few words." },
    memory_bytes: integer,
    cpu_seconds: {
      ...nullable(number),
      description: "The time of an estimate on two CPU cores; null if it has not been measured.",
    },
    ready: { type: "boolean", description: "Whether all its files are on this machine." },
    offered: { type: "boolean", description: "Whether requests may name it." },
  }),
  Capabilities: object({
    version: text,
    kinds: object({ generate: options, depth: options }),
    load: options,
    defaults: options,
    estimators: list({ $ref: "Estimator#" }),
    device: text,
    memory: object({ total_bytes: integer, available_bytes: integer }),
    limits: object({
      picture_bytes: integer,
      picture_pixels: integer,
      prompt_characters: integer,
      json_bytes: integer,
      file_parts: integer,
      queued_jobs: integer,
    }),
  }),
  OpenApi: { type: "object", description: "A document of OpenAPI 3.1." },
  Readiness: object({ ready: boolean, checks: { type: "object", additionalProperties: text } }),
  OpenAiImages: {
    type: "object",
    properties: {
      created: integer,
      data: list({ type: "object", properties: { b64_json: text, url: text } }),
      output_format: text,
      size: text,
    },
    required: ["created", "data"],
  },
} as const satisfies Readonly<Record<string, Schema>>;

/** The answers of a route, with descriptions, and the error object for every other status. */
export const answers = (byStatus: Readonly<Record<number, Schema>>): Schema => ({
  ...byStatus,
  default: { description: "An error", ...content("application/json", ref("Error")) },
});

/** An answer in JSON, or a file of one of these types. */
export const json = (
  description: string,
  name: keyof typeof components,
  ...mimes: readonly string[]
): Schema => ({
  description,
  content: { "application/json": { schema: ref(name) }, ...filesOf(mimes) },
});

/** A file of one of these types as an answer. */
export const file = (description: string, ...mimes: readonly string[]): Schema => ({
  description,
  content: filesOf(mimes),
});

const filesOf = (mimes: readonly string[]): Schema =>
  Object.fromEntries(mimes.map((mime) => [mime, { schema: { type: "string", contentMediaType: mime } }]));

export const empty = (description: string): Schema => ({ description, type: "null" });

const content = (mime: string, schema: Schema): Schema => ({ content: { [mime]: { schema } } });

/** The path's id. */
export const idParams = {
  type: "object",
  properties: { id: { type: "string", minLength: 1 } },
  required: ["id"],
} as const;

/** A query that accepts these parameters only. */
export const query = (properties: Readonly<Record<string, Schema>> = {}): Schema => ({
  type: "object",
  properties,
  additionalProperties: false,
});
