/*
 * The models of jobs: which they are, and how those that this machine lacks get here while other jobs run.
 */
import { untilAborted } from "../abort.js";
import { estimatorIn } from "../depth/repository.js";
import { kindFor, type ModelPurpose } from "../families/kinds.js";
import { folderHere, isHere, type ModelSource } from "../hub/obtain.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { defaultDepthModel } from "../options/defaults.js";
import { resolveLoadOptions } from "../options/index.js";
import type { EngineJob } from "./protocol.js";
import { type DownloadOptions, downloadModel } from "./store.js";

interface Wanted {
  readonly source: ModelSource;
  readonly purpose: ModelPurpose;
}

/** In the order in which the pipeline looks for them. Whether FLUX brings its own Depth Pro shows when it is here. */
function modelsOf({ load, request }: EngineJob, env: NodeJS.ProcessEnv | undefined): Wanted[] {
  const {
    configFrom,
    depthModel,
    allowPatterns: allow,
    ignorePatterns: ignore,
    ...rest
  } = resolveLoadOptions(load);
  const { model, revision, variant, path } = rest;
  const flux: ModelSource = { model, revision, variant, path, patterns: { allow, ignore } };
  const models: Wanted[] = [{ source: flux, purpose: "generation" }];
  if (configFrom !== undefined) models.push({ source: { model: configFrom }, purpose: "configs" });
  if (!request.image || request.depthImage) return models;
  const folder = folderHere(flux, env);
  if (depthModel !== undefined || !folder || !estimatorIn(folder))
    models.push({ source: { model: depthModel ?? defaultDepthModel }, purpose: "depth" });
  return models;
}

/**
 * The repositories and folders that a job reads models from, as they are named.
 * @throws {OptionError} for a value that cannot be.
 */
export const modelNamesOf = (job: EngineJob): readonly string[] =>
  modelsOf(job, undefined).map(({ source }) => source.model);

/** A model that is whole on this machine. */
export interface ObtainedModel {
  /** As it was named. */
  readonly model: string;
  /** What it is for, in words. */
  readonly kind: string;
  readonly folder: string;
}

/**
 * Downloads what jobs of a kind would, and nothing that is here.
 * @param job.request.image a photo, of which only it counts that there is one: Depth Pro is needed where no map is.
 * @throws {OptionError} for a value that cannot be.
 * @throws {ModelError} when a model cannot be had, or is another one.
 * @throws the signal's reason when cancelled; a later call goes on where this one stopped.
 */
export async function obtainModels(
  job: EngineJob,
  options: DownloadOptions = {},
): Promise<readonly ObtainedModel[]> {
  const obtained: ObtainedModel[] = [];
  for (;;) {
    // Asked again after each: whether FLUX brings its own Depth Pro shows when it is here.
    const next = modelsOf(job, options.env)[obtained.length];
    if (!next) return obtained;
    obtained.push(await obtain(next, options));
  }
}

/** Downloads Depth Pro alone, as {@link obtainModels}. */
export const obtainDepthModel = (
  depthModel: string | undefined,
  options: DownloadOptions = {},
): Promise<ObtainedModel> =>
  obtain({ source: { model: depthModel ?? defaultDepthModel }, purpose: "depth" }, options);

const obtain = async (wanted: Wanted, options: DownloadOptions): Promise<ObtainedModel> => ({
  model: wanted.source.model,
  kind: kindFor[wanted.purpose].name,
  folder: await downloadModel(wanted, options),
});

interface Download {
  /** Resolves when it has ended, however it did. */
  readonly ended: Promise<void>;
  /** Told how it goes on: the jobs that wait for it. */
  readonly listeners: Set<(progress: DownloadProgress) => void>;
  /** What they were told last. */
  last: DownloadProgress | null;
}

interface JobDownloadOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: DownloadProgress) => void;
  /** For the Hub, in place of this machine's. */
  readonly token: string | undefined;
}

/** Downloads for jobs. Of one repository there is one at a time: who else needs it waits, and finds it then. */
export class Downloads {
  readonly #env: NodeJS.ProcessEnv | undefined;
  readonly #underWay = new Map<string, Download>();

  /** @param env Hugging Face's variables; those of this process when absent. */
  constructor(env: NodeJS.ProcessEnv | undefined) {
    this.#env = env;
  }

  /** The first model of a job that has to be downloaded. */
  missing(job: EngineJob): Wanted | null {
    const offline = job.load.offline ?? false;
    return (
      modelsOf(job, this.#env).find(
        ({ source, purpose }) => !isHere(source, { kind: kindFor[purpose], offline, env: this.#env }),
      ) ?? null
    );
  }

  /**
   * Downloads what a job lacks.
   * @throws {ModelError} when it cannot be had.
   * @throws the signal's reason when cancelled, at once.
   */
  async obtain(job: EngineJob, options: JobDownloadOptions): Promise<void> {
    const { signal, onProgress } = options;
    /** What has been downloaded here: if it is still not whole, the pipeline says why. */
    const done = new Set<string>();
    for (;;) {
      signal.throwIfAborted();
      const wanted = this.missing(job);
      if (!wanted || done.has(wanted.source.model)) return;
      const { model } = wanted.source;
      const other = this.#underWay.get(model);
      if (other) {
        other.listeners.add(onProgress);
        if (other.last) onProgress(other.last);
        await untilAborted(other.ended, signal).finally(() => other.listeners.delete(onProgress));
      } else {
        await this.#download(wanted, options);
        done.add(model);
      }
    }
  }

  #download(wanted: Wanted, { signal, onProgress, token }: JobDownloadOptions): Promise<unknown> {
    const { model } = wanted.source;
    const listeners = new Set([onProgress]);
    const download = downloadModel(
      { ...wanted, token },
      {
        signal,
        env: this.#env,
        onProgress: (progress) => {
          underWay.last = progress;
          for (const tell of listeners) tell(progress);
        },
      },
    ).finally(() => this.#underWay.delete(model));
    const ended = download.then(
      () => {},
      () => {},
    );
    const underWay: Download = { ended, listeners, last: null };
    this.#underWay.set(model, underWay);
    return download;
  }
}
