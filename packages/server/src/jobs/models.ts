import { bytesOfEstimator, type EstimatorModel, modelHere } from "mflux-depth/engine";
import type { EstimatorObject, ModelObject } from "../contract/index.js";
import { type AllowedModel, mayBeRepository } from "../requests/models.js";

/** Where models are. */
export interface ModelPlaces {
  /** The names of models on other machines. */
  readonly elsewhere: ReadonlySet<string>;
  /** The names of models in memory. */
  readonly loaded: ReadonlySet<string>;
  /** Hugging Face's environment variables. */
  readonly env: NodeJS.ProcessEnv | undefined;
}

/** A model as `GET /v1/models` lists it. */
export async function modelObjectOf(
  { name, folder }: AllowedModel,
  { elsewhere, loaded, env }: ModelPlaces,
): Promise<ModelObject> {
  const { ready, bytes, lora, savedLoras } = await modelHere(folder ?? name, env);
  return {
    id: name,
    object: "model",
    // OpenAI's clients expect a time; that of a folder's training is unknown.
    created: 0,
    owned_by: folder === undefined && mayBeRepository(name) ? name.split("/")[0]! : "local",
    ready: ready || elsewhere.has(name),
    bytes,
    loaded: loaded.has(name),
    lora,
    saved_loras: savedLoras,
  };
}

/**
 * A depth estimator as `GET /v1/capabilities` lists it.
 * @param offered whether requests may name it
 * @param env Hugging Face's environment variables.
 */
export async function estimatorObjectOf(
  estimator: EstimatorModel,
  { offered, env }: { readonly offered: boolean; readonly env: NodeJS.ProcessEnv | undefined },
): Promise<EstimatorObject> {
  const { repository, licence, cpuSeconds } = estimator;
  return {
    id: repository,
    licence,
    memory_bytes: bytesOfEstimator(estimator),
    cpu_seconds: cpuSeconds,
    ready: (await modelHere(repository, env)).ready,
    offered,
  };
}
