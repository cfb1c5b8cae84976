/* Derives JSON Schemas (draft 2020-12) from the tables, for HTTP bodies and forms. */
import type { OptionKind } from "./kinds.js";
import type { OptionSpec, OptionTable } from "./table.js";

/** A JSON Schema, or a part of one. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** The JSON form of kinds that have no JSON values. */
export interface JsonForms {
  /** The schema of images; by default the path of a file. */
  readonly image?: JsonSchema;
  /** The schema of a tensor's values; without it, options with tensors are omitted. */
  readonly tensor?: JsonSchema;
}

/**
 * The schema of an object with the options of a table: types, ranges, defaults and texts. It accepts the JSON values
 * that `checkOption` accepts, and `null` for an omitted option; it refuses unknown options.
 */
export function jsonSchemaOf(table: OptionTable, forms: JsonForms = {}): JsonSchema {
  const entries = Object.entries(table).flatMap(([name, spec]) => {
    const schema = schemaOfKind(spec.kind, forms);
    return schema === null ? [] : [[name, property(spec, schema)] as const];
  });
  const required = Object.keys(table).filter((name) => table[name]!.required);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    properties: Object.fromEntries(entries),
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  };
}

const property = ({ text, default: fallback, required }: OptionSpec, schema: JsonSchema): JsonSchema => ({
  description: text,
  ...(fallback !== undefined && { default: fallback }),
  ...(required ? schema : { anyOf: [schema, { type: "null" }] }),
});

const text = { type: "string", pattern: "\\S" } as const;

function schemaOfKind(kind: OptionKind, forms: JsonForms): JsonSchema | null {
  switch (kind.type) {
    case "text":
      return {
        ...(kind.blank ? { type: "string" } : text),
        ...(kind.max !== undefined && { maxLength: kind.max }),
      };
    case "integer":
      return { type: "integer", minimum: kind.min, maximum: kind.max };
    case "number":
      return {
        type: "number",
        [kind.exclusiveMin ? "exclusiveMinimum" : "minimum"]: kind.min,
        ...(kind.max !== undefined && { maximum: kind.max }),
      };
    case "choice":
      return { enum: kind.values };
    case "boolean":
      return { type: "boolean" };
    case "model":
      return { anyOf: [text, modelReference] };
    case "image":
      return forms.image ?? text;
    case "adapters": {
      const scale = { type: ["number", "null"], minimum: kind.scale.min, maximum: kind.scale.max };
      return { type: "array", items: { anyOf: [text, adapterReference(scale)] } };
    }
    case "numbers":
      return { type: "array", items: { type: "number", minimum: kind.each.min, maximum: kind.each.max } };
    case "tensor":
      return forms.tensor ? { anyOf: [forms.tensor, shapedTensor(forms.tensor)] } : null;
  }
}

/** `AdapterReference`. */
const adapterReference = (scale: JsonSchema): JsonSchema => ({
  type: "object",
  properties: { source: text, scale },
  required: ["source"],
  additionalProperties: false,
});

/** `ShapedTensor`. */
const shapedTensor = (values: JsonSchema): JsonSchema => ({
  type: "object",
  properties: { data: values, shape: { type: "array", items: { type: "integer", minimum: 1 } } },
  required: ["data", "shape"],
  additionalProperties: false,
});

const nullableText = { type: ["string", "null"] } as const;
const nullableTexts = { type: ["array", "null"], items: { type: "string" } } as const;

/** `ModelReference`. */
const modelReference = {
  type: "object",
  properties: {
    repo_id: text,
    path: nullableText,
    variant: nullableText,
    allow_patterns: nullableTexts,
    ignore_patterns: nullableTexts,
    type: nullableText,
  },
  required: ["repo_id"],
  additionalProperties: false,
} as const;
