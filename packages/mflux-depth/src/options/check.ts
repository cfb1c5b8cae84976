import { type ErrorCode, OptionError } from "../errors.js";
import { isRecord } from "../record.js";
import { describeKind, type OptionKind } from "./kinds.js";
import { nearest } from "./suggest.js";
import type { OptionTable } from "./table.js";
import type { ResolvedOptions } from "./types.js";
import type { AdapterInput, ImageInput, ModelReference, ShapedTensor } from "./values.js";

/**
 * Checks a value that already has a type, such as one from JavaScript or JSON.
 * @returns the value.
 * @throws {OptionError} naming the option, the value and the values it may have.
 */
export function checkOption(name: string, kind: OptionKind, value: unknown): unknown {
  if (!hasType(kind, value)) throw refusal(name, kind, value, "option-invalid");
  if (kind.type === "adapters" || kind.type === "numbers") requireNumbersInRange(name, kind, value);
  else if (!isInRange(kind, value)) throw refusal(name, kind, value, "option-out-of-range");
  return value;
}

/** @throws {OptionError} for the first number in a list that is out of range. */
function requireNumbersInRange(
  name: string,
  kind: Extract<OptionKind, { type: "adapters" | "numbers" }>,
  value: unknown,
): void {
  const [what, { min, max }, numbers] =
    kind.type === "adapters"
      ? (["the scale", kind.scale, scalesOf(value as readonly AdapterInput[])] as const)
      : (["each number", kind.each, value as readonly number[]] as const);
  const wrong = numbers.find((one) => one < min || one > max);
  if (wrong === undefined) return;
  const expected = `from ${min} to ${max}`;
  throw new OptionError(name, `${name}: ${what} must be ${expected}, not ${wrong}.`, {
    code: "option-out-of-range",
    details: { value: wrong, expected },
  });
}

const scalesOf = (adapters: readonly AdapterInput[]): readonly number[] =>
  adapters.map((one) => (typeof one === "string" ? 1 : (one.scale ?? 1)));

/** Describes why a value is refused: "steps must be a whole number from 1 to 50, not 51." */
export function refusal(name: string, kind: OptionKind, value: unknown, code: ErrorCode): OptionError {
  const expected = describeKind(kind);
  return new OptionError(name, `${name} must be ${expected}, not ${shown(value)}.`, {
    code,
    details: { value: inJson(value), expected },
  });
}

function hasType(kind: OptionKind, value: unknown): boolean {
  switch (kind.type) {
    case "text":
      return typeof value === "string" && (kind.blank === true || value.trim() !== "");
    case "integer":
      return Number.isInteger(value);
    case "number":
      return Number.isFinite(value);
    case "choice":
      return typeof value === "string" || typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    case "model":
      return isModel(value);
    case "image":
      return isImageInput(value);
    case "tensor":
      return value instanceof Float32Array || isShapedTensor(value);
    case "adapters":
      return Array.isArray(value) && value.every(isAdapter);
    case "numbers":
      return Array.isArray(value) && value.every((one) => Number.isFinite(one));
  }
}

/** Whether a value of the right type is allowed by its kind. */
function isInRange(kind: OptionKind, value: unknown): boolean {
  switch (kind.type) {
    case "text":
      return kind.max === undefined || isWithin(value as string, kind.max);
    case "integer":
      return (value as number) >= kind.min && (value as number) <= kind.max;
    case "number": {
      const number = value as number;
      const above = kind.exclusiveMin ? number > kind.min : number >= kind.min;
      return above && number <= (kind.max ?? Number.MAX_VALUE);
    }
    case "choice":
      return kind.values.includes(value as string | number);
    default:
      return true;
  }
}

/** Whether a text has at most `max` code points, each of at most two UTF-16 units. */
const isWithin = (text: string, max: number): boolean =>
  text.length <= max || (text.length <= 2 * max && [...text].length <= max);

function isShapedTensor(value: unknown): value is ShapedTensor {
  if (!isRecord(value)) return false;
  const { data, shape } = value;
  return (
    data instanceof Float32Array &&
    Array.isArray(shape) &&
    shape.every((n) => Number.isInteger(n) && n > 0) &&
    shape.reduce((product, n) => product * n, 1) === data.length
  );
}

function isAdapter(value: unknown): value is AdapterInput {
  if (typeof value === "string") return value.trim() !== "";
  if (!isRecord(value)) return false;
  const { source, scale, ...rest } = value;
  return (
    typeof source === "string" &&
    source.trim() !== "" &&
    (scale === undefined || scale === null || Number.isFinite(scale)) &&
    Object.keys(rest).length === 0
  );
}

function isModel(value: unknown): value is string | ModelReference {
  if (typeof value === "string") return value.trim() !== "";
  if (!isRecord(value)) return false;
  const { repo_id, path, variant, allow_patterns, ignore_patterns, type, ...rest } = value;
  const isText = (one: unknown): boolean => typeof one === "string";
  return (
    isText(repo_id) &&
    (repo_id as string).trim() !== "" &&
    [path, variant, type].every((one) => one === undefined || one === null || isText(one)) &&
    [allow_patterns, ignore_patterns].every(
      (one) => one === undefined || one === null || (Array.isArray(one) && one.every(isText)),
    ) &&
    Object.keys(rest).length === 0
  );
}

function isImageInput(value: unknown): value is ImageInput {
  if (typeof value === "string") return value.trim() !== "";
  if (value instanceof Uint8Array) return true;
  if (!isRecord(value)) return false;
  const { data, width, height, channels } = value;
  return ArrayBuffer.isView(data) && [width, height, channels].every((n) => typeof n === "number");
}

/** Formats a value for a message. */
function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value);
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return `${value}`;
  if (value === null || value === undefined) return "nothing";
  return Array.isArray(value) ? "a list" : `a value of type ${typeof value}`;
}

/** The value for an error's details: unchanged if JSON can hold it and it is short, otherwise formatted as in messages. */
const inJson = (value: unknown): string | number | boolean =>
  (typeof value === "string" && value.length <= 1000) || typeof value === "boolean" || Number.isFinite(value)
    ? (value as string | number | boolean)
    : shown(value);

/**
 * Checks the values given for the options of a table, and fills in defaults. `null` counts as not given.
 * @throws {OptionError} for an invalid value, or a missing required one.
 */
export function checkOptions<T extends OptionTable>(
  table: T,
  given: { readonly [K in keyof T]?: unknown },
): ResolvedOptions<T> {
  const values = Object.entries(table).map(([name, spec]) => {
    const value = given[name];
    if (value !== undefined && value !== null) return [name, checkOption(name, spec.kind, value)];
    if (spec.required)
      throw new OptionError(name, `${name} is missing; give ${describeKind(spec.kind)}.`, {
        code: "option-missing",
        details: { expected: describeKind(spec.kind) },
      });
    return [name, spec.default];
  });
  return Object.fromEntries(values) as ResolvedOptions<T>;
}

/**
 * Requires an object of options.
 * @throws {OptionError} naming the value given.
 */
export function requireOptions(given: unknown): void {
  if (!isRecord(given)) throw new OptionError("options", `Options must be an object, not ${shown(given)}.`);
}

/**
 * Refuses unknown names, such as a misspelt one in an HTTP body.
 * @throws {OptionError} naming the nearest option.
 */
export function refuseUnknown(names: Iterable<string>, known: Iterable<string>): void {
  const all = [...known];
  for (const name of names) {
    if (all.includes(name)) continue;
    const suggestion = nearest(name, all);
    const hint = suggestion ? `; did you mean ${suggestion}?` : ".";
    throw new OptionError(name, `There is no option ${name}${hint}`, {
      code: "option-unknown",
      details: suggestion === undefined ? {} : { suggestion },
    });
  }
}
