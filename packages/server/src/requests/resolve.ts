import { savedLorasHere, stepsOf } from "mflux-depth/engine";
import {
  checkOptions,
  type GenerateRequest,
  type LoadOptions,
  type OptionTable,
  refuseUnknown,
  requireNearAboveFar,
  resolveLoadOptions,
  resolveRequest,
  toJsonName,
  toOptionNames,
} from "mflux-depth/options";
import type { JobBody, Json, JsonOptions } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { NewJob } from "../ledger/jobs.js";
import { blobIdOf, hashOfBlob } from "../options/blob-id.js";
import { loadTable, pictureNames, requestTables } from "../options/tables.js";
import { serviceErrorOf } from "./failure.js";
import { forClients } from "./messages.js";
import type { AllowedModels } from "./models.js";

/** A request with every default filled in. */
export interface ResolvedBody
  extends Pick<NewJob, "kind" | "steps" | "seed" | "request" | "load" | "model" | "warnings"> {
  /** The blobs used by the request: their hashes and the paths of their fields. */
  readonly blobs: readonly { readonly sha256: string; readonly param: string }[];
}

/** The defaults that the server adds to a request. */
export interface Defaults {
  readonly models: AllowedModels;
  /** Default loading options. */
  readonly load: LoadOptions;
  /** Hugging Face's variables; this process's by default. */
  readonly env?: NodeJS.ProcessEnv | undefined;
}

/**
 * Checks a request and fills in defaults.
 * @throws {ServiceError} with the code of the problem and the path of the field.
 */
export function resolveBody(body: JobBody, defaults: Defaults): ResolvedBody {
  const { kind } = body;
  const load = resolveLoad(body.load ?? {}, defaults);
  const pictures = picturesOf(body);
  const resolved = checked("request", () => {
    const given = optionsNamed(body.request, requestTables[kind]);
    // The library only checks whether pictures are present.
    const options = { ...given, ...mapValues(pictures, () => new Uint8Array(1)) };
    return kind === "generate" ? resolveGenerate(options) : resolveDepth(options);
  });
  const { steps, seed, values, warnings } = resolved;
  requireScalePerLora(values.loraScales, load, defaults);
  return {
    kind,
    steps,
    seed,
    warnings: warnings.map(forClients),
    request: inJson(requestTables[kind], { ...values, ...mapValues(pictures, blobReference) }),
    load,
    model: keyOfLoad(load),
    blobs: Object.entries(pictures).map(([name, sha256]) => ({ sha256, param: fieldOf(name) })),
  };
}

interface ResolvedOptionsOfKind extends Pick<NewJob, "steps" | "seed" | "warnings"> {
  readonly values: Readonly<Record<string, unknown>>;
}

function resolveGenerate({ bestOf, ...given }: Record<string, unknown>): ResolvedOptionsOfKind {
  const own = checkOptions({ bestOf: requestTables.generate.bestOf! }, { bestOf });
  const values = resolveRequest(given as unknown as GenerateRequest);
  return {
    steps: stepsOf(values) * (own.bestOf as number),
    seed: values.seed,
    warnings: values.warnings,
    values: { ...values, ...own },
  };
}

function resolveDepth(given: Record<string, unknown>): ResolvedOptionsOfKind {
  const values = checkOptions(requestTables.depth, given);
  requireNearAboveFar(Number(values.depthNear), Number(values.depthFar), ["depthNear", "depthFar"]);
  return { steps: null, seed: null, warnings: [], values };
}

/**
 * Requires a scale for each LoRA: those in the model's folder, as far as this machine has it, and those of the request.
 * @throws {ServiceError} `option_conflict` for another number.
 */
function requireScalePerLora(scales: unknown, load: JsonOptions, { models, env }: Defaults): void {
  const { model, loras } = load;
  if (!Array.isArray(scales) || !Array.isArray(loras)) return;
  const saved = savedLorasHere(models.sourceOf(model as string, "load.model"), env);
  const count = saved.length + loras.length;
  if (scales.length === count) return;
  const own =
    saved.length > 0 ? `; the first belong to the model: ${saved.map(({ name }) => name).join(", ")}` : "";
  throw new ServiceError(
    "option_conflict",
    `lora_scales must have one number for each LoRA (${count}), not ${scales.length}${own}.`,
    { param: "request.lora_scales" },
  );
}

/** The hashes of a request's pictures, by the library's option names. */
function picturesOf({ kind, request }: JobBody): Record<string, string> {
  const given = pictureNames(requestTables[kind]).flatMap((name) => {
    const value = request[toJsonName(name)] ?? null;
    return value === null ? [] : [[name, blobOf(value, fieldOf(name))]];
  });
  return Object.fromEntries(given);
}

/** The path of an option of the request. */
const fieldOf = (name: string): string => `request.${toJsonName(name)}`;

const blobReference = (sha256: string): Json => ({ blob: blobIdOf(sha256) });

/** Converts values to JSON names. Values left to the library become null. */
const inJson = (table: OptionTable, values: Readonly<Record<string, unknown>>): JsonOptions =>
  Object.fromEntries(Object.keys(table).map((name) => [toJsonName(name), (values[name] ?? null) as Json]));

/**
 * Checks the loading options of a request, and fills in defaults.
 * @throws {ServiceError} with the code of the problem and the path of the field.
 */
export function resolveLoad(given: JsonOptions, { models, load }: Defaults): JsonOptions {
  const resolved = checked("load", () => {
    const { defaultModel: model, defaultDepthModel: depthModel, defaultLoras: loras } = models;
    const defaults = { ...load, model, depthModel, loras };
    return resolveLoadOptions({ ...defaults, ...optionsNamed(given, loadTable) });
  });
  const { model, depthModel, loras, quantize } = resolved;
  models.sourceOf(model, "load.model");
  if (depthModel !== undefined) models.sourceOf(depthModel, "load.depth_model");
  for (const { source } of loras) models.sourceOf(source, "load.loras");
  return inJson(loadTable, { ...resolved, quantize: quantize ?? "none" });
}

/** The key of a model: equal for jobs that can share a loaded one. */
const keyOfLoad = (load: JsonOptions): string => JSON.stringify(load);

/** Recovers the loading options from a model's key. */
export const loadOfKey = (key: string): JsonOptions => JSON.parse(key) as JsonOptions;

/** Converts options to the library's names. Null counts as omitted. */
function optionsNamed(given: JsonOptions, table: OptionTable): Record<string, unknown> {
  refuseUnknown(Object.keys(given), Object.keys(table).map(toJsonName));
  const present = Object.entries(given).filter(([, value]) => value !== null);
  return toOptionNames(Object.fromEntries(present));
}

const mapValues = <A, B>(record: Readonly<Record<string, A>>, change: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));

function checked<T>(part: "request" | "load", work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw serviceErrorOf(error, part);
  }
}

/**
 * The hash in a blob's id, given alone or as `{blob: id}`.
 * @throws {ServiceError} `invalid_image` for anything else.
 */
export function blobOf(value: Json, param: string): string {
  const id = typeof value === "object" && value !== null && "blob" in value ? value.blob : value;
  const sha256 = hashOfBlob(id);
  if (sha256 === undefined)
    throw new ServiceError("invalid_image", "A picture must be the id of a blob; upload it first.", {
      param,
    });
  return sha256;
}
