/*
 * JSON Schemas of a job's options, derived from the library's tables.
 */
import {
  type JsonSchema,
  jsonSchemaOf,
  type OptionSpec,
  type OptionTable,
  toJsonName,
} from "mflux-depth/options";
import type { JobKind } from "../contract/index.js";
import { blobReference } from "./blob-id.js";
import { loadTable, requestTables } from "./tables.js";

/** A picture in JSON: one that was uploaded before, or its bytes in base64. */
const pictureSchema: JsonSchema = {
  description: "A picture: { blob } of an upload, { base64 }, or a data URL.",
  anyOf: [
    blobReference,
    {
      type: "object",
      properties: { base64: { type: "string", minLength: 1 } },
      required: ["base64"],
      additionalProperties: false,
    },
    { type: "string", pattern: "^data:image/" },
  ],
};

/**
 * The schema of a table's options, under their names in JSON, with titles for forms.
 * @param picture the form of pictures
 */
export function schemaOf(table: OptionTable, picture: JsonSchema = pictureSchema): JsonSchema {
  const { properties, required, ...rest } = jsonSchemaOf(table, { image: picture }) as {
    properties: Record<string, JsonSchema>;
    required?: readonly string[];
  };
  return {
    ...rest,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [
        toJsonName(name),
        { title: titleOf(name), ...property, ...forForms(table[name]!) },
      ]),
    ),
    ...(required && { required: required.map(toJsonName) }),
  };
}

/** "depthImage" → "Depth image". */
function titleOf(option: string): string {
  const words = toJsonName(option).replaceAll("_", " ");
  return `${words[0]!.toUpperCase()}${words.slice(1)}`;
}

const forForms = ({ form, defaultText }: OptionSpec): JsonSchema => ({
  ...(form && { "x-form": { minimum: form.min, maximum: form.max } }),
  ...(defaultText && { "x-default-text": defaultText }),
});

/** The schema of a job's `request`, by its kind. */
export const requestSchemas: Readonly<Record<JobKind, JsonSchema>> = {
  generate: schemaOf(requestTables.generate),
  depth: schemaOf(requestTables.depth),
};

/** The schema of a job's `load`. */
export const loadSchema: JsonSchema = schemaOf(loadTable);
