/*
 * Models from the Hugging Face Hub, through the cache shared with Python. A complete model in the cache is used without
 * asking the Hub; otherwise only the missing files are downloaded.
 */
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { missingFiles, type RepositoryKind } from "./kind.js";
import type { Patterns } from "./patterns.js";
import { findCached, isBundled, isRepositoryName, type Repository, resolveRepository } from "./repository.js";
import type { Patience } from "./retry.js";
import { hubSettings } from "./settings.js";
import type { DownloadProgress } from "./transfer.js";

/** A model and where to find it. */
export interface ModelSource {
  /** A bundled model, a folder, or a repository. */
  readonly model: string;
  /** A branch, tag or commit of the repository; "main" by default. */
  readonly revision?: string | undefined;
  /** The variant of the weights: the middle of `model.fp16.safetensors`. */
  readonly variant?: string | undefined;
  /** The model's folder inside the repository. */
  readonly path?: string | undefined;
  readonly patterns?: Patterns | undefined;
}

export interface ObtainOptions {
  readonly kind: RepositoryKind;
  /** Use only files on this machine. HF_HUB_OFFLINE has the same effect. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Hugging Face's environment variables. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly patience?: Partial<Patience> | undefined;
}

/**
 * Whether obtaining a model would download nothing, because it is complete on this machine, downloads are off, or its
 * name cannot be a Hub repository.
 */
export function isHere(
  source: ModelSource,
  { kind, offline, env = process.env }: Pick<ObtainOptions, "kind" | "offline" | "env">,
): boolean {
  const { model } = source;
  if (isBundled(model) || isFolder(model) || !isRepositoryName(model)) return true;
  return offline || hubSettings(env).offline || searchCache(source, kind, env).missing?.length === 0;
}

/**
 * Whether a model can be used without a download, because it is complete on this machine or its name cannot be a Hub
 * repository. Unlike {@link isHere}, it ignores whether downloads are off.
 * @param env Hugging Face's environment variables.
 */
export const isComplete = (source: ModelSource, kind: RepositoryKind, env: NodeJS.ProcessEnv): boolean =>
  isHere(source, { kind, offline: false, env: { ...env, HF_HUB_OFFLINE: "" } });

/** The folder of a model on this machine, complete or not; null if there is none. */
export function folderHere(
  { model, revision = "main", path = "" }: ModelSource,
  env: NodeJS.ProcessEnv = process.env,
): string | null {
  const local = isBundled(model) || isFolder(model);
  const found = local ? resolveRepository(model, { env }) : findCached(model, { revision, env });
  const folder = found && join(found.folder, path);
  return folder && isFolder(folder) ? folder : null;
}

/** Looks a model up in the cache and lists the files it lacks there; null when the cache has no such folder. */
function searchCache(
  { model, revision = "main", variant, path = "" }: ModelSource,
  kind: RepositoryKind,
  env: NodeJS.ProcessEnv,
): { cached: Repository | null; missing: string[] | null } {
  const cached = findCached(model, { revision, env });
  const folder = cached && join(cached.folder, path);
  return { cached, missing: folder && isFolder(folder) ? missingFiles(folder, kind, variant) : null };
}

/**
 * Finds a model on this machine, or downloads the files it needs. A repository that is complete in the cache is used
 * without asking the Hub, so a model stays the same until someone downloads another revision. Configs are downloaded
 * first, so that another kind of model is refused before its weights are downloaded.
 * @throws {ModelError} when the model does not exist, is of another kind, cannot be downloaded, or is incomplete while
 * downloads are off.
 * @throws the signal's reason when cancelled; a later call resumes the download.
 */
export async function obtainRepository(source: ModelSource, options: ObtainOptions): Promise<Repository> {
  const { model, revision = "main", variant, path = "", patterns = {} } = source;
  const { kind, signal, env = process.env } = options;
  signal?.throwIfAborted();
  const within = (repository: Repository): Repository => {
    const folder = join(repository.folder, path);
    if (!isFolder(folder)) throw new ModelError(repository.name, `the repository has no folder ${path}`);
    return { ...repository, folder };
  };
  checkPath(model, path);
  if (isBundled(model) || isFolder(model)) return within(resolveRepository(model, { env }));
  if (!isRepositoryName(model)) return resolveRepository(model, { env });
  kind.checkName?.(model);

  const settings = hubSettings(env);
  const { cached, missing } = searchCache(source, kind, env);
  if (cached && missing?.length === 0) return within(cached);
  if (options.offline || settings.offline) {
    const place = `the Hugging Face cache (${settings.cache})`;
    const why = options.offline
      ? "this request downloads nothing"
      : "downloads are off (HF_HUB_OFFLINE is set)";
    throw new ModelError(
      model,
      missing
        ? `revision ${revision} is incomplete in ${place}: ${missing.join(", ")} missing, and ${why}`
        : `it is neither a folder nor, at revision ${revision}, in ${place}, and ${why}`,
      { code: "model-not-found" },
    );
  }

  // Most processes find their models complete.
  const { downloadRepository } = await import("./download.js");
  const { commit, folder } = await downloadRepository(
    { repository: model, revision, variant, path, patterns },
    { kind, settings, signal, onProgress: options.onProgress, patience: options.patience },
  );
  return within({ name: model, folder, revision: commit });
}

/** Refuses paths that leave the repository or name a file. */
function checkPath(model: string, path: string): void {
  if (/\.(safetensors|gguf|ckpt|pth?|bin)$/.test(path))
    throw new ModelError(
      model,
      `${path} is a checkpoint in one file, not a folder; name the model ${model}:${path}`,
    );
  if (/^[/\\]|(^|[/\\])\.\.([/\\]|$)/.test(path))
    throw new ModelError(model, `${path} leads out of the repository`);
}
