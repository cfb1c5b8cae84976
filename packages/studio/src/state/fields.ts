/*
 * Form fields from the server's JSON Schemas.
 */
import type { Json } from "@mflux-depth/server/contract";

/** The form field of one option. */
export interface Field {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly required: boolean;
  /** The value of an omitted option, or a sentence if it depends on others. */
  readonly default: Json | undefined;
  readonly defaultText: string | null;
  readonly kind: FieldKind;
}

export type FieldKind =
  | { readonly type: "text"; readonly max: number | null }
  | {
      readonly type: "number";
      readonly integer: boolean;
      readonly min: number;
      readonly max: number;
      /** The range of a slider, if it is narrower than the allowed range. */
      readonly slider: { readonly min: number; readonly max: number };
    }
  | { readonly type: "choice"; readonly values: readonly Json[] }
  | { readonly type: "boolean" }
  | { readonly type: "picture" };

interface Schema {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: Json;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly enum?: readonly Json[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly "x-form"?: { readonly minimum: number; readonly maximum: number };
  readonly "x-default-text"?: string;
}

/** The fields of an object's schema, in its order. Properties of kinds that forms do not support are omitted. */
export function fieldsOf(schema: object): Field[] {
  const { properties = {}, required = [] } = schema as Schema;
  return Object.entries(properties).flatMap(([name, property]) => {
    const kind = kindOf(property);
    if (!kind) return [];
    return {
      name,
      title: property.title ?? name,
      description: property.description ?? "",
      required: required.includes(name),
      default: property.default,
      defaultText: property["x-default-text"] ?? null,
      kind,
    };
  });
}

/** The field with a name. */
export const fieldNamed = (fields: readonly Field[], name: string): Field | undefined =>
  fields.find((field) => field.name === name);

function kindOf(property: Schema): FieldKind | null {
  const schema = unwrapped(property);
  if (schema.enum) return { type: "choice", values: schema.enum };
  if (isPicture(schema)) return { type: "picture" };
  switch (schema.type) {
    case "boolean":
      return { type: "boolean" };
    case "string":
      return { type: "text", max: schema.maxLength ?? null };
    case "integer":
    case "number": {
      const min = schema.minimum ?? schema.exclusiveMinimum ?? Number.MIN_SAFE_INTEGER;
      const max = schema.maximum ?? Number.MAX_SAFE_INTEGER;
      const form = property["x-form"] ?? { minimum: min, maximum: max };
      return {
        type: "number",
        integer: schema.type === "integer",
        min,
        max,
        slider: { min: form.minimum, max: form.maximum },
      };
    }
    default:
      return null;
  }
}

/** The schema of the values other than null. */
function unwrapped(schema: Schema): Schema {
  const others = schema.anyOf?.filter(({ type }) => type !== "null");
  return others?.length === 1 ? others[0]! : schema;
}

const isPicture = ({ anyOf }: Schema): boolean => anyOf?.some(({ properties }) => properties?.blob) ?? false;
