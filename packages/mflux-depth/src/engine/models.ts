/*
 * Lists and downloads the models that a job needs.
 */
import { judgeFor } from "../depth/judge.js";
import { estimatorIn, estimatorNameIn } from "../depth/repository.js";
import { kindFor, type ModelPurpose } from "../families/kinds.js";
import { folderHere, type ModelSource } from "../hub/obtain.js";
import { defaultDepthModel } from "../options/defaults.js";
import { resolveLoadOptions } from "../options/index.js";
import type { EngineJob } from "./protocol.js";
import { type DownloadOptions, downloadModel } from "./store.js";

/** A model that a job needs. */
export interface NeededModel {
  readonly source: ModelSource;
  readonly purpose: ModelPurpose;
}

/**
 * Lists the models of a job in the order in which the pipeline opens them. A depth estimator of its own is needed unless
 * the main model brings one, which is known only once that is on this machine.
 * @throws {OptionError} for an invalid option.
 */
export function modelsOf(
  { load, request, includeFidelity = false }: Pick<EngineJob, "load" | "request" | "includeFidelity">,
  env: NodeJS.ProcessEnv | undefined,
): NeededModel[] {
  const { model, revision, variant, path, configFrom, depthModel, allowPatterns, ignorePatterns } =
    resolveLoadOptions(load);
  const patterns = { allow: allowPatterns, ignore: ignorePatterns };
  const main: ModelSource = { model, revision, variant, path, patterns };
  const models: NeededModel[] = [{ source: main, purpose: "generation" }];
  if (configFrom !== undefined) models.push({ source: { model: configFrom }, purpose: "configs" });
  if (request.image && !request.depthImage) {
    const folder = folderHere(main, env);
    if (depthModel !== undefined || !folder || !estimatorIn(folder)) models.push(depthEstimator(depthModel));
  }
  if (includeFidelity)
    models.push(depthEstimator(judgeFor({ model, depth_model: request.depthImage ? null : depthModel })));
  return models;
}

const depthEstimator = (depthModel: string | undefined): NeededModel => ({
  source: { model: depthModel ?? defaultDepthModel },
  purpose: "depth",
});

/**
 * The repositories and folders that a job reads models from, under the names it gives them.
 * @param env Hugging Face's variables; this process's by default.
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
 * @param job.request.image any photo: only its presence counts. A photo without a depth map needs a depth estimator.
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
    // List them again after each: the main model may turn out to bring its own depth estimator.
    const next = modelsOf(job, options.env)[obtained.length];
    if (!next) return obtained;
    obtained.push(await obtain(next, options));
  }
}

/** Downloads a depth estimator alone, like {@link obtainModels}. */
export const obtainDepthModel = (
  depthModel: string | undefined,
  options: DownloadOptions = {},
): Promise<ObtainedModel> => obtain(depthEstimator(depthModel), options);

async function obtain(needed: NeededModel, options: DownloadOptions): Promise<ObtainedModel> {
  const { source, purpose } = needed;
  const folder = await downloadModel(needed, options);
  const kind = purpose === "depth" ? estimatorNameIn(folder) : kindFor[purpose].name;
  return { model: source.model, kind, folder };
}
