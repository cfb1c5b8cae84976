/* The fields of OpenAI's images interface, extended by all our options. */
import {
  type JsonSchema,
  type OptionTable,
  parseOption,
  toJsonName,
  toOptionName,
} from "mflux-depth/options";
import type { Json, JsonOptions } from "../contract/index.js";
import { blobReference } from "../options/blob-id.js";
import { schemaOf } from "../options/schemas.js";
import { loadTable, pictureNames, requestTables } from "../options/tables.js";

/** OpenAI's fields that have an effect. */
const theirs = {
  n: {
    kind: { type: "integer", min: 1, max: 10 },
    default: 1,
    text: "How many images; seeds count up.",
    flags: [],
  },
  size: {
    kind: { type: "text", max: 20 },
    text: "WxH in pixels, or auto: the proportions of the photo.",
    default: "auto",
    flags: [],
  },
  outputFormat: {
    kind: { type: "choice", values: ["png", "jpeg", "webp"] },
    default: "png",
    text: "The format of the images.",
    flags: [],
  },
  outputCompression: {
    kind: { type: "integer", min: 0, max: 100 },
    default: 100,
    text: "The quality of JPEG and WebP.",
    flags: [],
  },
  responseFormat: {
    kind: { type: "choice", values: ["b64_json", "url"] },
    default: "b64_json",
    text: "Whether to return images in the answer or as URLs.",
    flags: [],
  },
  partialImages: {
    kind: { type: "integer", min: 0, max: 3 },
    default: 0,
    text: "How many previews to stream.",
    flags: [],
  },
  stream: { kind: { type: "boolean" }, default: false, text: "Answer with server-sent events.", flags: [] },
} as const satisfies OptionTable;

/** OpenAI's fields that are accepted and ignored. */
const ignored = ["quality", "style", "background", "moderation", "input_fidelity", "user"];

/** Our options, except those that OpenAI's fields replace. */
const request: OptionTable = Object.fromEntries(
  Object.entries(requestTables.generate).filter(([name]) => !Object.hasOwn(theirs, name)),
);

const table: OptionTable = { ...request, ...loadTable, ...theirs };

/** The fields with pictures. */
export const pictureFields: readonly string[] = pictureNames(request).map(toJsonName);

const picture: JsonSchema = {
  description: "A picture: base64, a data URL, or { blob } of an upload.",
  anyOf: [blobReference, { type: "string", minLength: 1 }],
};

const { $schema: _, properties, ...schema } = schemaOf(table, picture);

/** The schema of a body. */
export const bodySchema: JsonSchema = {
  ...schema,
  properties: {
    ...(properties as object),
    ...Object.fromEntries(ignored.map((name) => [name, { description: "Accepted and ignored." }])),
  },
};

/** The schema of a form, in which pictures may also be files. */
export const formSchema: JsonSchema = {
  ...bodySchema,
  properties: {
    ...(bodySchema.properties as object),
    ...Object.fromEntries(
      pictureFields.map((name) => [name, { type: "string", contentMediaType: "image/*" }]),
    ),
  },
};

/** The field of a form's part: clients send a list with one entry as "image[]". */
export const fieldOf = (part: string): string => part.replace(/\[\]$/, "");

export const isPictureField = (part: string): boolean => pictureFields.includes(fieldOf(part));

/**
 * Parses a form's text field. Pictures may be texts; an unknown field stays a text, and the schema refuses it.
 * @throws {OptionError} for an invalid value.
 */
export function parseField(name: string, text: string): Json {
  const spec = table[toOptionName(name)];
  if (spec === undefined || spec.kind.type === "image") return text;
  return parseOption(name, spec.kind, text) as Json;
}

/** A checked body. */
export interface ImagesBody {
  readonly n: number;
  readonly size: string;
  readonly output_format: "png" | "jpeg" | "webp";
  readonly output_compression: number;
  readonly response_format: "b64_json" | "url";
  readonly partial_images: number;
  readonly stream: boolean;
  /** The job's options, without those that were omitted. */
  readonly request: JsonOptions;
  readonly load: JsonOptions;
}

/** Separates the fields of a checked body by their purpose. */
export function sortFields(body: JsonOptions): ImagesBody {
  const given = Object.entries(body).filter(([, value]) => value !== null);
  const of = (part: OptionTable): JsonOptions =>
    Object.fromEntries(given.filter(([name]) => Object.hasOwn(part, toOptionName(name))));
  const defaults = Object.fromEntries(
    Object.entries(theirs).map(([name, spec]) => [toJsonName(name), spec.default]),
  );
  return {
    ...defaults,
    ...of(theirs),
    request: of(request),
    load: of(loadTable),
  } as unknown as ImagesBody;
}
