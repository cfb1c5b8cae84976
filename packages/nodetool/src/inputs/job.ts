/*
 * Converts the inputs of a run to a job for the engine. Accepts every unambiguous form that hosts send, including older
 * ones, and rejects everything else by naming the property.
 */
import type { EngineJob } from "mflux-depth/engine";
import { OptionError } from "mflux-depth/errors";
import { checkOption, requireDepthSource } from "mflux-depth/options";
import {
  defaultOf,
  isRequestOption,
  kindOf,
  type NodeProperty,
  nameOf,
  nodeProperties,
} from "../properties.js";
import { imageOf } from "./image.js";
import { modelOf } from "./model.js";

interface RunInputs {
  /** Values by property; unknown properties are ignored, missing ones get their default. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Images by property: the bytes of a file, or a list with one. */
  readonly blobs: Readonly<Record<string, unknown>>;
  /** Whether the host may name files, because it runs on this machine as the same user. */
  readonly localFiles: boolean;
}

/**
 * Checks the inputs of one run.
 * @throws {OptionError} naming the property.
 */
export function jobOf(inputs: RunInputs): EngineJob {
  const [request, load]: [Record<string, unknown>, Record<string, unknown>] = [{}, {}];
  for (const property of nodeProperties)
    (isRequestOption(property.option) ? request : load)[property.option] = valueIn(inputs, property);
  requireDepthSource(request);
  // Each value has been checked by its option's kind.
  return { load, request: request as unknown as EngineJob["request"], format: "png" };
}

/** Checks the value of a property and returns it. */
function valueIn({ fields, blobs, localFiles }: RunInputs, property: NodeProperty): unknown {
  const name = nameOf(property);
  const field = fields[name];
  const kind = kindOf(property);
  switch (kind.type) {
    case "text":
      return textOf(name, field ?? defaultOf(property));
    case "image":
      return imageOf({ name, value: field, blob: blobs[name], localFiles });
    case "model":
      return modelOf(field);
    case "choice":
      // An empty value means none; a missing one means the default.
      return checkOption(name, kind, field === null ? "none" : numeric(field ?? defaultOf(property)));
    default:
      return checkOption(name, kind, numeric(field ?? defaultOf(property)));
  }
}

function textOf(name: string, value: unknown): string {
  if (typeof value !== "string") throw new OptionError(name, `${name} must be a string.`);
  if (value.trim() === "")
    throw new OptionError(name, "Prompt cannot be empty for depth-guided generation.", {
      code: "option-missing",
    });
  return value;
}

/** Text fields and forms send numbers as strings. */
const numeric = (value: unknown): unknown =>
  typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value.trim()) ? Number(value) : value;
