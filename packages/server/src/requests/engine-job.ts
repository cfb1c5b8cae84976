import type { EngineJob } from "mflux-depth/engine";
import { type GenerateRequest, type LoadOptions, toJsonName, toOptionNames } from "mflux-depth/options";
import type { JsonOptions } from "../contract/index.js";
import type { JobRecord } from "../ledger/jobs.js";
import { bestOfCount } from "../options/best-of.js";
import { pictureNames, requestTables } from "../options/tables.js";
import type { Lora } from "./models.js";
import { blobOf, type Defaults } from "./resolve.js";

/** The bytes of a blob. */
export type ReadBlob = (sha256: string) => Promise<Uint8Array>;

/**
 * Converts a job's loading options to the engine's.
 * @throws {ServiceError} `model_not_found` if the server no longer offers the model.
 */
export function engineLoadOf(json: JsonOptions, { models, load }: Defaults): LoadOptions {
  const { model, depthModel, loras, ...rest } = toOptionNames(json);
  return {
    ...load,
    ...rest,
    model: models.sourceOf(model as string, "load.model"),
    depthModel: depthModel == null ? null : models.sourceOf(depthModel as string, "load.depth_model"),
    loras: ((loras ?? []) as unknown as readonly Lora[]).map(({ source, scale }) => ({
      source: models.sourceOf(source, "load.loras"),
      scale,
    })),
    // A server downloads nothing.
    offline: true,
  };
}

/** Converts a job's request to the engine's. */
export async function engineRequestOf(
  { kind, request }: Pick<JobRecord, "kind" | "request">,
  readBlob: ReadBlob,
): Promise<GenerateRequest> {
  const pictures: Record<string, Uint8Array> = {};
  for (const name of pictureNames(requestTables[kind])) {
    const json = toJsonName(name);
    const value = request[json] ?? null;
    if (value !== null) pictures[name] = await readBlob(blobOf(value, `request.${json}`));
  }
  const { best_of: _, ...options } = request;
  return { ...toOptionNames(options), ...pictures } as unknown as GenerateRequest;
}

/** Converts a job to the engine's form. */
export const engineJobOf = async (
  job: Pick<JobRecord, "kind" | "request" | "load">,
  defaults: Defaults,
  readBlob: ReadBlob,
): Promise<EngineJob> => ({
  load: engineLoadOf(job.load, defaults),
  request: await engineRequestOf(job, readBlob),
  // Score images that are to be compared.
  includeFidelity: bestOfCount(job.request) > 1,
});
