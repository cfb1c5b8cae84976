/*
 * Models from the Hugging Face Hub, through the cache shared with Python. A complete model in the cache is used as it
 * is; missing files are downloaded, and no others.
 */
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { RepositoryCache } from "./cache.js";
import { Changed, HubClient, type HubFile, type Patience } from "./client.js";
import { missingFiles, type RepositoryKind } from "./kind.js";
import { isWanted, type Patterns } from "./patterns.js";
import {
  bundledModel,
  findCached,
  isRepositoryName,
  type Repository,
  resolveRepository,
} from "./repository.js";
import { hubSettings } from "./settings.js";
import { type DownloadProgress, Transfer } from "./transfer.js";

/** Which model is wanted. */
export interface ModelSource {
  /** "tiny-world", a folder, or a repository. */
  readonly model: string;
  /** A branch, tag or commit of the repository; "main" by default. */
  readonly revision?: string | undefined;
  /** Of the weights: the middle of `model.fp16.safetensors`. */
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
 * Tells whether obtaining a model would download nothing: it is complete on this machine, downloads are off, or its
 * name cannot be a Hub repository.
 */
export function isHere(
  source: ModelSource,
  { kind, offline, env = process.env }: Pick<ObtainOptions, "kind" | "offline" | "env">,
): boolean {
  const { model } = source;
  if (model === bundledModel || isFolder(model) || !isRepositoryName(model)) return true;
  return offline || hubSettings(env).offline || searchCache(source, kind, env).missing?.length === 0;
}

/** The folder of a model that is on this machine, complete or not; null when there is none. */
export function folderHere(
  { model, revision = "main", path = "" }: ModelSource,
  env: NodeJS.ProcessEnv = process.env,
): string | null {
  const local = model === bundledModel || isFolder(model);
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
 * first, so that another kind of model is refused before its weights.
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
    if (!isFolder(folder)) throw new ModelError(repository.name, `it has no folder ${path}`);
    return { ...repository, folder };
  };
  checkPath(model, path);
  if (model === bundledModel || isFolder(model)) return within(resolveRepository(model, { env }));
  if (!isRepositoryName(model)) return resolveRepository(model, { env });
  kind.checkName?.(model);

  const settings = hubSettings(env);
  const { cached, missing } = searchCache(source, kind, env);
  if (cached && missing?.length === 0) return within(cached);
  if (options.offline || settings.offline) {
    const place = `the Hugging Face cache (${settings.cache})`;
    const why = options.offline ? "offline was requested" : "HF_HUB_OFFLINE is set";
    throw new ModelError(
      model,
      missing
        ? `${place} has only part of revision ${revision}, without ${missing.join(", ")}, and nothing is downloaded because ${why}`
        : `it is neither a folder nor, at revision ${revision}, in ${place}, and nothing is downloaded because ${why}`,
      { code: "model-not-found" },
    );
  }

  for (let retried = false; ; retried = true) {
    signal?.throwIfAborted();
    const failed = new AbortController();
    const cancel = (): void => failed.abort(signal?.reason);
    signal?.addEventListener("abort", cancel, { once: true });
    const client = new HubClient(settings, model, { signal: failed.signal, patience: options.patience });
    const cache = new RepositoryCache(client, failed.signal);
    try {
      const wanted = { revision, variant, path, patterns };
      const commit = await download(client, cache, wanted, { ...options, failed });
      return within({ name: model, folder: cache.snapshot(commit), revision: commit });
    } catch (error) {
      if (!(error instanceof Changed)) throw error;
      if (retried)
        throw new ModelError(
          model,
          `it is changing on the Hub during the download (${error.message}); run this again when that is over`,
          { cause: error },
        );
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }
}

/** @returns the commit, whose snapshot then has all needed files. */
async function download(
  client: HubClient,
  cache: RepositoryCache,
  {
    revision,
    variant,
    path,
    patterns,
  }: { revision: string; variant: string | undefined; path: string; patterns: Patterns },
  { kind, onProgress, failed }: ObtainOptions & { failed: AbortController },
): Promise<string> {
  const name = client.repository;
  if (!/^[^\s~^:?*[\\]+$/.test(revision) || /(^|\/)\.*(\/|$)/.test(revision))
    throw new ModelError(name, `${JSON.stringify(revision)} cannot be a branch, tag or commit`);
  const { commit, files } = await client.list(revision);
  const folder = join(cache.snapshot(commit), path);
  const prefix = path === "" ? "" : `${path}/`;
  const names = [...files.keys()].filter((file) => file.startsWith(prefix) && isWanted(file, patterns));
  requireFolders(name, kind, prefix, { files: [...files.keys()], wanted: names });
  const needed = kind.needed(
    names.map((file) => file.slice(prefix.length)),
    variant,
  );
  const listed = (file: string): HubFile => {
    const found = names.includes(prefix + file) ? files.get(prefix + file) : undefined;
    if (!found) throw new ModelError(name, describeMissing([file], files.has(prefix + file)));
    return found;
  };

  const isProbe = (file: HubFile): boolean => kind.probe !== undefined && file.path.endsWith(kind.probe);
  const small = needed.small.map(listed).sort((a, b) => Number(isProbe(b)) - Number(isProbe(a)));
  const transfer = new Transfer(cache, commit, { name, onProgress, failed });
  await transfer.fetch(small.slice(0, 1));
  await transfer.fetch(small.slice(1));
  kind.check?.(name, folder, needed.small);
  if (needed.missing.length > 0) {
    const excluded = [...files.keys()].some((file) => !isWanted(file, patterns));
    throw new ModelError(name, describeMissing(needed.missing, excluded));
  }
  await transfer.fetch(needed.weights(folder).map(listed));
  await cache.remember(revision, commit);
  return commit;
}

/** @throws {ModelError} when patterns exclude a whole folder that the model needs. */
function requireFolders(
  name: string,
  { folders = [] }: RepositoryKind,
  prefix: string,
  { files, wanted }: { files: readonly string[]; wanted: readonly string[] },
): void {
  const excluded = folders.filter((folder) => {
    const isInside = (file: string): boolean => file.startsWith(`${prefix}${folder}/`);
    return files.some(isInside) && !wanted.some(isInside);
  });
  if (excluded.length > 0)
    throw new ModelError(
      name,
      `the patterns exclude all of ${excluded.join(", ")}; the model needs ${excluded.length > 1 ? "these folders" : "this folder"}`,
    );
}

const describeMissing = (missing: readonly string[], excluded: boolean): string =>
  `the repository has no ${missing.join(", no ")}${excluded ? ", or the patterns exclude it" : ""}; a model in the layout of diffusers, with safetensors weights, needs it`;

/** Refuses paths that leave the repository or name a file. */
function checkPath(model: string, path: string): void {
  if (/\.(safetensors|gguf|ckpt|pth?|bin)$/.test(path))
    throw new ModelError(
      model,
      `${path} is a checkpoint in one file, which cannot be read; name a repository or folder in the layout of diffusers`,
    );
  if (/^[/\\]|(^|[/\\])\.\.([/\\]|$)/.test(path))
    throw new ModelError(model, `${path} leads out of the repository`);
}
