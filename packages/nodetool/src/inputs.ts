/*
 * What a host sends for one run → what the engine makes. Values come as they were typed, stored or wired by people
 * and older versions: forms that can only mean one thing are taken, the rest is refused by the property's name.
 */
import type { EngineJob } from "mflux-depth/engine";
import { OptionError } from "mflux-depth/errors";
import { checkOption, type LoadOptions, type ModelReference } from "mflux-depth/options";
import { defaultModel, defaultOf, definition, kindOf, type NumericProperty } from "./definition.js";

export interface RunInputs {
  /** Values by property; unknown ones are ignored, missing ones have their default. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Pictures by property: the bytes of a file, or a list with one. */
  readonly blobs: Readonly<Record<string, unknown>>;
}

/**
 * Checks the inputs of one run.
 * @throws {OptionError} naming the property.
 */
export function jobOf({ fields, blobs }: RunInputs): EngineJob {
  const prompt = promptOf(fields.prompt);
  const image = pictureOf("image", fields, blobs);
  const depthImage = pictureOf("depth_image", fields, blobs);
  if (!image && !depthImage)
    throw new OptionError(
      "depth_image",
      "There is no picture: connect a depth map to depth_image, or a photo to image to infer depth from.",
    );
  return {
    load: { ...modelOf(fields.model), quantize: quantizeOf(fields.quantize) },
    request: {
      prompt,
      image,
      depthImage,
      steps: numberOf("steps", fields),
      guidance: numberOf("guidance", fields),
      width: numberOf("width", fields),
      height: numberOf("height", fields),
      seed: numberOf("seed", fields),
    },
    format: "png",
  };
}

function promptOf(value: unknown): string {
  const prompt = value ?? definition.properties.find(({ name }) => name === "prompt")?.default;
  if (typeof prompt !== "string") throw new OptionError("prompt", "prompt must be a text.");
  if (prompt.trim() === "")
    throw new OptionError("prompt", "Prompt cannot be empty for depth-guided generation.");
  return prompt;
}

function numberOf(name: Exclude<NumericProperty, "quantize">, fields: RunInputs["fields"]): number {
  const value = fields[name] ?? defaultOf(name);
  return checkOption(name, kindOf(name), numeric(value)) as number;
}

/** Absent: the default; null: not quantized. */
function quantizeOf(value: unknown): NonNullable<LoadOptions["quantize"]> {
  if (value === undefined) return defaultOf("quantize") as 4;
  const bits = value === null ? "none" : numeric(value);
  return checkOption("quantize", kindOf("quantize"), bits) as 4 | "none";
}

/** Numbers that went through a text field or a form are texts. */
const numeric = (value: unknown): unknown =>
  typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value.trim()) ? Number(value) : value;

// ---------------------------------------------------------------- model

/**
 * The `hf.flux_depth` value (also under its older type name), or a repository's name alone. `path` is the model's
 * folder in the repository; alone, a folder on this machine.
 */
function modelOf(value: unknown): { model: string | ModelReference } {
  if (value === undefined || value === null || value === "") return { model: defaultModel };
  if (typeof value === "string") return { model: value };
  if (!isRecord(value)) throw new OptionError("model", "model must be a model with a repo_id.");
  const part = (name: string): string => {
    const text = value[name] ?? "";
    if (typeof text !== "string") throw new OptionError("model", `model.${name} must be a text.`);
    return text.trim();
  };
  const [repository, path, variant] = [part("repo_id"), part("path"), part("variant")];
  const name = repository || path || defaultModel;
  const rest = {
    ...(repository !== "" && path !== "" && { path }),
    ...(variant !== "" && { variant }),
    ...patternsIn("model", value),
  };
  return { model: Object.keys(rest).length === 0 ? name : { repo_id: name, ...rest } };
}

type PatternName = "allow_patterns" | "ignore_patterns";

/**
 * The patterns of a model or a download; a text alone is a list with one.
 * @throws {OptionError} naming the property.
 */
export function patternsIn(
  property: string,
  value: Readonly<Record<string, unknown>>,
): Partial<Record<PatternName, readonly string[]>> {
  const patterns: Partial<Record<PatternName, readonly string[]>> = {};
  for (const name of ["allow_patterns", "ignore_patterns"] as const) {
    const given = value[name] ?? [];
    const list: unknown[] = Array.isArray(given) ? given : [given];
    if (!list.every((pattern) => typeof pattern === "string"))
      throw new OptionError(property, `${property}.${name} must be a list of texts.`);
    const texts = list.filter((pattern) => pattern !== "");
    if (texts.length > 0) patterns[name] = texts;
  }
  return patterns;
}

// ---------------------------------------------------------------- pictures

/**
 * One picture: bytes among the blobs, else in the field itself (bytes, base64 or a data URI).
 * @returns null when it is not set.
 */
function pictureOf(name: string, fields: RunInputs["fields"], blobs: RunInputs["blobs"]): Uint8Array | null {
  const blob = single(name, blobs[name]);
  if (blob !== null) return bytesOf(name, blob);
  const field = single(name, fields[name]);
  if (field === null || field === "") return null;
  if (!isRecord(field)) return bytesOf(name, field);
  const data = single(name, field.data);
  if (data !== null && data !== "") return bytesOf(name, data);
  const { uri } = field;
  if (typeof uri === "string" && uri.startsWith("data:")) return bytesOf(name, uri);
  if (typeof uri === "string" && uri !== "")
    throw new OptionError(
      name,
      `${name} could not be loaded by NodeTool: ${JSON.stringify(uri.slice(0, 200))} came without its bytes.`,
    );
  return null;
}

/** A list with one picture is that picture. */
function single(name: string, value: unknown): unknown {
  if (!Array.isArray(value)) return value ?? null;
  if (value.length > 1) throw new OptionError(name, `${name} holds ${value.length} pictures; give one.`);
  return value[0] ?? null;
}

function bytesOf(name: string, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== "string")
    throw new OptionError(name, `${name} must be a picture: its bytes, base64, or a data URI.`);
  const uri = /^data:([^,]*),/.exec(value);
  const encoded = uri ? value.slice(uri[0].length) : value;
  if (uri && !/;base64$/i.test(uri[1]!)) return percentDecoded(name, encoded);
  const bytes = fromBase64(encoded);
  if (!bytes) throw new OptionError(name, `${name} holds a text that is neither base64 nor a data URI.`);
  return bytes;
}

/**
 * Base64 of either alphabet, in lines or not. The text of a large picture is only read by native code: the decoder
 * passes over what is not base64, and then the bytes are fewer than the text must give.
 * @returns null when it is no base64, or nothing.
 */
function fromBase64(text: string): Uint8Array | null {
  const padding = /=*$/.exec(text.slice(-16).replace(/\s/g, ""))![0].length;
  const length = text.length - padding - [" ", "\t", "\r", "\n"].reduce((sum, c) => sum + count(c, text), 0);
  if (length === 0 || length % 4 === 1 || padding > 2) return null;
  const bytes = Buffer.from(text, "base64");
  return bytes.byteLength === Math.floor((length * 3) / 4) ? bytes : null;
}

function count(character: string, text: string): number {
  let found = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) found++;
  return found;
}

function percentDecoded(name: string, text: string): Uint8Array {
  try {
    return Buffer.from(decodeURIComponent(text), "utf8");
  } catch {
    throw new OptionError(name, `${name} holds a data URI that is damaged.`);
  }
}

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
