/*
 * Lists and downloads the models that a job needs.
 */
import { judgeOfRequest } from "../depth/judge.js";
import { estimatorIn, estimatorNameIn } from "../depth/repository.js";
import { folderHere, type ModelSource } from "../hub/obtain.js";
import { defaultDepthModel, defaultModel } from "../options/defaults.js";
import { type ResolvedLoadOptions, resolveLoadOptions } from "../options/index.js";
import { isCheckpointFile } from "../pipeline/model/single-file-source.js";
import { kindOf, type NeededModel, neededFile, neededLoras } from "./needed-model.js";
import type { EngineJob } from "./protocol.js";
import { type DownloadOptions, downloadModel } from "./store.js";

/**
 * Lists the models of a job in the order in which the pipeline opens them, LoRAs first. A separate depth estimator is
 * needed unless the main model includes one, which is known only once that model is on this machine.
 * @throws {OptionError} for an invalid option.
 */
export function modelsOf(
  { load, request, includeFidelity = false }: Pick<EngineJob, "load" | "request" | "includeFidelity">,
  env: NodeJS.ProcessEnv | undefined,
): NeededModel[] {
  const options = resolveLoadOptions(load);
  const { configFrom, depthModel, textEncoder, textEncoder2, vae } = options;
  const models = [...neededLoras(options.loras), ...mainModel(options)];
  if (configFrom !== undefined) models.push({ source: { model: configFrom }, purpose: "configs" });
  models.push(...[textEncoder, textEncoder2, vae].flatMap((file) => neededFile(file)));
  if (request.image && !request.depthImage) {
    const folder = folderHere(repositoryOf(options), env);
    if (depthModel !== undefined || !folder || !estimatorIn(folder)) models.push(depthEstimator(depthModel));
  }
  if (includeFidelity) models.push(depthEstimator(judgeOfRequest(request, options)));
  return models;
}

/** The repository or folder with everything except a network that has its own file, and perhaps a depth estimator. */
export function repositoryOf(options: ResolvedLoadOptions): ModelSource {
  const { model, revision, variant, path, allowPatterns, ignorePatterns, componentsFrom } = options;
  return isCheckpointFile(model)
    ? { model: componentsFrom ?? defaultModel, variant }
    : { model, revision, variant, path, patterns: { allow: allowPatterns, ignore: ignorePatterns } };
}

function mainModel(options: ResolvedLoadOptions): NeededModel[] {
  const source = repositoryOf(options);
  const { model, revision, loras } = options;
  if (isCheckpointFile(model)) return [...neededFile(model, { revision }), { source, purpose: "components" }];
  return [{ source, purpose: "generation", ...(loras.length > 0 && { loras }) }];
}

const depthEstimator = (depthModel: string | undefined): NeededModel => ({
  source: { model: depthModel ?? defaultDepthModel },
  purpose: "depth",
});

/**
 * The repositories and folders from which a job reads models, as named by the job.
 * @param env Hugging Face's environment variables; this process's by default.
 * @throws {OptionError} for an invalid option.
 */
export const modelNamesOf = (job: EngineJob, env?: NodeJS.ProcessEnv | undefined): readonly string[] =>
  modelsOf(job, env).map(({ source }) => source.model);

/** A complete model on this machine. */
export interface ObtainedModel {
  /** The name it was requested by. */
  readonly model: string;
  /** Its kind, for display: "Depth Pro". */
  readonly kind: string;
  readonly folder: string;
}

/**
 * Downloads the models that jobs like this one need; complete ones stay as they are.
 * @param job.request.image any photo: only its presence matters. A photo without a depth map needs a depth estimator.
 * @throws {OptionError} for an invalid option.
 * @throws {ModelError} if a model cannot be obtained or is of another kind.
 * @throws the signal's reason when cancelled; a later call resumes the download.
 */
export async function obtainModels(
  job: EngineJob,
  options: DownloadOptions = {},
): Promise<readonly ObtainedModel[]> {
  const obtained: ObtainedModel[] = [];
  for (;;) {
    // List them again after each download: the main model may turn out to include a depth estimator.
    const next = modelsOf(job, options.env)[obtained.length];
    if (!next) return obtained;
    obtained.push(await obtain(next, options));
  }
}

/** Downloads only a depth estimator, like {@link obtainModels}. */
export const obtainDepthModel = (
  depthModel: string | undefined,
  options: DownloadOptions = {},
): Promise<ObtainedModel> => obtain(depthEstimator(depthModel), options);

async function obtain(needed: NeededModel, options: DownloadOptions): Promise<ObtainedModel> {
  const { source, purpose } = needed;
  const folder = await downloadModel(needed, options);
  const kind = purpose === "depth" ? estimatorNameIn(folder) : kindOf(needed).name;
  return { model: source.model, kind, folder };
}
