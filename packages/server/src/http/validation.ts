/* Checks bodies, queries and paths against their schemas, and describes violations in a sentence. */
import ajv2020 = require("ajv/dist/2020.js");

import type { Ajv2020, ValidateFunction, ErrorObject as Violation } from "ajv/dist/2020.js";
import type { FastifyRequest, FastifySchemaCompiler } from "fastify";
import { isRecord, nearest } from "mflux-depth/options";
import { HttpError } from "./error.js";

const shared = {
  strict: true,
  strictTypes: false,
  strictRequired: false,
  discriminator: true,
  verbose: true,
  // Our schemas are constant, and a test checks them: doing so here would take two thirds of the time of the first request.
  validateSchema: false,
} as const;
/** `x-` keywords are annotations for forms and readers. */
const notes = ["x-form", "x-default-text"];

const forBodies = new ajv2020.Ajv2020({
  ...shared,
  coerceTypes: false,
  removeAdditional: false,
  useDefaults: false,
});
/** Values in a URL are text. */
const forUrls = new ajv2020.Ajv2020({
  ...shared,
  coerceTypes: "array",
  removeAdditional: false,
  useDefaults: true,
});
for (const ajv of [forBodies, forUrls]) {
  for (const note of notes) ajv.addKeyword(note);
  ajv.addFormat("date-time", true);
}

const compiled = new WeakMap<object, ValidateFunction>();

function compile(ajv: Ajv2020, schema: object): ValidateFunction {
  const before = compiled.get(schema);
  if (before) return before;
  const validate = ajv.compile(schema);
  compiled.set(schema, validate);
  return validate;
}

/** Fastify's hook for checking requests. */
export const validatorCompiler: FastifySchemaCompiler<object> = ({ schema, httpPart }) => {
  const isBody = httpPart === "body";
  return (data: unknown) => {
    // With the first request: compiling the schemas of all routes takes a seventh of the time a server needs to start.
    const validate = compile(isBody ? forBodies : forUrls, schema);
    if (validate(data)) return { value: data };
    return { error: refusalOf(validate.errors ?? [], isBody ? "field" : "parameter") };
  };
};

/** Fastify's hook for routes without a body: an unknown field is refused there as anywhere else. */
export async function refuseFields({ body, routeOptions }: FastifyRequest): Promise<void> {
  const { schema, config } = routeOptions;
  if (schema?.body !== undefined || config.documentedBody !== undefined || !isRecord(body)) return;
  const [field] = Object.keys(body);
  if (field === undefined) return;
  const name = shortened(field);
  throw new HttpError(400, "unknown_field", `There is no field ${name}; this request has no body.`, {
    param: name,
  });
}

/** The refusal of a value that violates its schema. */
function refusalOf(violations: readonly Violation[], noun: "field" | "parameter"): HttpError {
  const violation = mostTelling(violations);
  const { keyword, params, parentSchema, data } = violation;
  const full = pathOf(violation.instancePath);
  // A repeatable parameter has an index in its path.
  const path = noun === "parameter" ? full.split(".")[0]! : full;
  const within = (name: string): string => (path === "" ? name : `${path}.${name}`);
  const subject = path === "" ? (noun === "field" ? "The body" : "The query") : path;
  const refuse = (code: string, message: string, param: string | null = path || null): HttpError =>
    new HttpError(400, code, message, { param });
  switch (keyword) {
    case "required":
      return refuse(
        "missing",
        `${within(params.missingProperty)} is missing.`,
        within(params.missingProperty),
      );
    case "additionalProperties":
    case "unevaluatedProperties": {
      const name = String(params.additionalProperty ?? params.unevaluatedProperty);
      const suggestion = nearest(name, Object.keys((parentSchema?.properties ?? {}) as object));
      const hint = suggestion ? `; did you mean ${within(suggestion)}?` : ".";
      return refuse(
        `unknown_${noun}`,
        `There is no ${noun} ${within(shortened(name))}${hint}`,
        within(shortened(name)),
      );
    }
    case "minimum":
    case "maximum":
    case "exclusiveMinimum":
    case "exclusiveMaximum":
      return refuse("out_of_range", `${subject} must be ${range(parentSchema)}, not ${shown(data)}.`);
    case "minLength":
      return refuse("missing", `${subject} must not be empty.`);
    case "minProperties":
      return refuse("missing", `${subject} must have at least one field.`);
    case "maxProperties":
      return refuse("too_many_fields", `${subject} must have at most ${params.limit} fields.`);
    case "maxLength": {
      const what = violation.propertyName === undefined ? subject : `A name in ${path}`;
      return refuse("too_long", `${what} has more than ${params.limit} characters.`);
    }
    case "discriminator": {
      const given = (data as Readonly<Record<string, unknown>>)[String(params.tag)];
      const expected = `${within(params.tag)} must be one of ${choices(parentSchema, params.tag)}`;
      return given === undefined
        ? refuse("missing", `${expected}.`, within(params.tag))
        : refuse("invalid_value", `${expected}, not ${shown(given)}.`, within(params.tag));
    }
    case "enum":
      return refuse(
        "invalid_value",
        `${subject} must be one of ${params.allowedValues.join(", ")}, not ${shown(data)}.`,
      );
    case "type":
      return refuse(
        "invalid_type",
        `${subject} must be ${withArticle(parentSchema, params.type)}, not ${shown(data)}.`,
      );
    case "anyOf":
    case "oneOf":
      return refuse("invalid_value", `${subject} must be ${described(parentSchema)}, not ${shown(data)}.`);
    case "pattern":
      if (params.pattern === "\\S") return refuse("invalid_value", `${subject} must not be blank.`);
      return refuse("invalid_value", `${subject} must be ${described(parentSchema)}, not ${shown(data)}.`);
    default:
      return refuse("invalid_value", `${subject} ${violation.message ?? "has an invalid value"}.`);
  }
}

/**
 * The violation to report. If alternatives were tried, it comes from the one that fits best: the right type, or the
 * deepest path.
 */
function mostTelling(violations: readonly Violation[]): Violation {
  const last = violations.at(-1)!;
  if (last.keyword !== "anyOf" && last.keyword !== "oneOf") return violations[0]!;
  const inside = violations.filter((one) => one !== last && !isNullBranch(one));
  const telling = inside.filter(
    (one) =>
      one.instancePath.length > last.instancePath.length ||
      !["type", "anyOf", "pattern"].includes(one.keyword),
  );
  // If one alternative has the right type, report its violation; otherwise the list of alternatives, or the only one.
  if (telling.length === 1) return telling[0]!;
  const nested = inside.findLast(({ keyword }) => keyword === "anyOf");
  return inside.length === 1 ? inside[0]! : (nested ?? last);
}

const isNullBranch = ({ keyword, params }: Violation): boolean =>
  keyword === "type" && params.type === "null";

/** "/request/steps" → "request.steps". */
const pathOf = (pointer: string): string =>
  pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .join(".");

type Schema = Readonly<Record<string, unknown>> | undefined;

/** "a whole number from 1 to 50". */
function range(schema: Schema): string {
  const { type, minimum, maximum, exclusiveMinimum } = (schema ?? {}) as Record<string, number | string>;
  if (minimum !== undefined && minimum === maximum) return `${minimum}`;
  const noun = type === "integer" ? "a whole number" : "a number";
  if (exclusiveMinimum !== undefined)
    return `${noun} above ${exclusiveMinimum}${maximum === undefined ? "" : `, and at most ${maximum}`}`;
  if (minimum === undefined) return `${noun} of at most ${maximum}`;
  return maximum === undefined ? `${noun} of at least ${minimum}` : `${noun} from ${minimum} to ${maximum}`;
}

const nouns: Readonly<Record<string, string>> = {
  string: "a text",
  boolean: "true or false",
  object: "an object",
  array: "a list",
  null: "null",
};

const withArticle = (schema: Schema, type: string | readonly string[]): string =>
  (typeof type === "string" ? [type] : type)
    .filter((one) => one !== "null" || type === "null")
    .map((one) => nouns[one] ?? range({ ...schema, type: one }))
    .join(" or ")
    .replace(/ of at most undefined$/, "");

/** Describes in words what a schema with alternatives accepts. */
function described(schema: Schema): string {
  const alternatives = (schema?.anyOf ?? schema?.oneOf ?? []) as readonly Schema[];
  const forms = alternatives.filter((one) => one?.type !== "null");
  if (typeof forms[0]?.description === "string") return lowerFirst(forms[0].description.replace(/\.$/, ""));
  return typeof schema?.description === "string"
    ? lowerFirst(schema.description.replace(/\.$/, ""))
    : "of another form";
}

const lowerFirst = (text: string): string => `${text[0]?.toLowerCase()}${text.slice(1)}`;

const choices = (schema: Schema, tag: string): string =>
  ((schema?.oneOf ?? []) as readonly { properties?: Record<string, { const?: unknown }> }[])
    .map(({ properties }) => properties?.[tag]?.const)
    .join(", ");

const shortened = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}…` : text);

/** Formats a value for a message. */
function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(shortened(value));
  if (value === undefined) return "nothing";
  if (value === null || typeof value === "number" || typeof value === "boolean") return `${value}`;
  return Array.isArray(value) ? "a list" : "an object";
}
