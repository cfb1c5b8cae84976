/*
 * Models from the Hugging Face Hub, by way of the cache that Python shares: what is there whole is used as it is, what
 * is missing is downloaded, and nothing else.
 */

import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { RepositoryCache } from "./cache.js";
import { Changed, HubClient, type HubFile, hubSettings, type Patience } from "./client.js";
import { isWanted, type ModelKind, missingFiles, neededFiles, type Patterns } from "./needed.js";
import {
  bundledModel,
  findCached,
  fluxParts,
  isRepositoryName,
  type Repository,
  requireFluxDepth,
  resolveRepository,
} from "./repository.js";

/** Files are being downloaded. */
export interface DownloadProgress {
  /** The repository: "owner/name". */
  readonly component: string;
  readonly state: "download";
  /** Size of all files that are needed. */
  readonly bytes: number;
  /** How much of it is here. */
  readonly bytesDone: number;
  readonly files: number;
  readonly filesDone: number;
  /** Those that are coming now. */
  readonly current: readonly string[];
}

/** Which model is wanted. */
export interface ModelSource {
  /** "tiny-world", a folder, or a repository. */
  readonly model: string;
  /** A branch, tag or commit of the repository; "main" when absent. */
  readonly revision?: string | undefined;
  /** Of the weights: the middle of `model.fp16.safetensors`. */
  readonly variant?: string | undefined;
  /** The model's folder in the repository. */
  readonly path?: string | undefined;
  readonly patterns?: Patterns | undefined;
}

export interface ObtainOptions {
  readonly kind: ModelKind;
  /** Whether to use only what is here; HF_HUB_OFFLINE says so too. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Hugging Face's variables. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly patience?: Partial<Patience> | undefined;
}

/**
 * Whether obtaining a model would download nothing: it is whole on this machine, nothing may be downloaded, or its
 * name is none of the Hub's.
 */
export function isHere(
  source: ModelSource,
  { kind, offline, env = process.env }: Pick<ObtainOptions, "kind" | "offline" | "env">,
): boolean {
  const { model } = source;
  if (model === bundledModel || isFolder(model) || !isRepositoryName(model)) return true;
  return offline || hubSettings(env).offline || inCache(source, kind, env).missing?.length === 0;
}

/** The folder of a model that is on this machine, whole or not; null when there is none. */
export function folderHere(
  { model, revision = "main", path = "" }: ModelSource,
  env: NodeJS.ProcessEnv = process.env,
): string | null {
  const local = model === bundledModel || isFolder(model);
  const found = local ? resolveRepository(model, { env }) : findCached(model, { revision, env });
  const folder = found && join(found.folder, path);
  return folder && isFolder(folder) ? folder : null;
}

/** What the cache has of a repository, and which files its model lacks there; null when it has no such folder. */
function inCache(
  { model, revision = "main", variant, path = "" }: ModelSource,
  kind: ModelKind,
  env: NodeJS.ProcessEnv,
): { cached: Repository | null; missing: string[] | null } {
  const cached = findCached(model, { revision, env });
  const folder = cached && join(cached.folder, path);
  return { cached, missing: folder && isFolder(folder) ? missingFiles(folder, kind, variant) : null };
}

/**
 * Finds a model on this machine or downloads what it needs. A repository that the cache has whole is used without
 * asking the Hub, so that a model stays the same until somebody fetches another revision. Configs come first: another
 * kind of model is refused before its weights are downloaded.
 * @throws {ModelError} when there is no such model, it is another one, the Hub refuses or cannot be reached, or
 * something is missing and nothing may be downloaded.
 * @throws the signal's reason when cancelled; what has been downloaded by then is kept, and no model yet.
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
  if (kind === "FLUX.1 Depth" && /canny/i.test(model.split("/")[1]!))
    // Its configs are those of Depth.
    throw new ModelError(
      model,
      "by its name this is FLUX.1 Canny, which takes edges; FLUX.1 Depth takes a depth map",
    );

  const settings = hubSettings(env);
  const { cached, missing } = inCache(source, kind, env);
  if (cached && missing?.length === 0) return within(cached);
  if (options.offline || settings.offline) {
    const place = `the Hugging Face cache (${settings.cache})`;
    const why = options.offline ? "offline was asked for" : "HF_HUB_OFFLINE is set";
    throw new ModelError(
      model,
      missing
        ? `${place} has only a part of revision ${revision}, without ${missing.join(", ")}, and nothing is downloaded, because ${why}`
        : `it is neither a folder nor, at revision ${revision}, in ${place}, and nothing is downloaded, because ${why}`,
      { code: "model-not-found" },
    );
  }

  for (let again = false; ; again = true) {
    // What comes at the same time ends with the first that fails.
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
      if (again)
        throw new ModelError(
          model,
          `it changes on the Hub while it is downloaded (${error.message}); run this again when that is over`,
          { cause: error },
        );
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }
}

/** @returns the commit, whose snapshot then has all that is needed. */
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
  const needed = neededFiles(
    names.map((file) => file.slice(prefix.length)),
    kind,
    variant,
  );
  const listed = (file: string): HubFile => {
    const found = names.includes(prefix + file) ? files.get(prefix + file) : undefined;
    if (!found) throw new ModelError(name, without(files.has(prefix + file), [file]));
    return found;
  };

  // One file alone shows whether this account may read the repository at all.
  const small = needed.small.map(listed).sort((a, b) => Number(isFirst(b)) - Number(isFirst(a)));
  const transfer = new Transfer(cache, commit, { name, onProgress, failed });
  await transfer.fetch(small.slice(0, 1));
  await transfer.fetch(small.slice(1));
  // A folder saved by mflux does not say what it is.
  const saysKind = needed.small.some((file) => /^(model_index|config|transformer\/config)\.json$/.test(file));
  if (kind === "FLUX.1 Depth" && saysKind) requireFluxDepth(folder);
  if (kind === "Depth Pro") requireDepthPro(name, folder, needed.small);
  if (needed.missing.length > 0) {
    const excluded = [...files.keys()].some((file) => !isWanted(file, patterns));
    throw new ModelError(name, without(excluded, needed.missing));
  }
  await transfer.fetch(needed.weights(folder).map(listed));
  await cache.remember(revision, commit);
  return commit;
}

function requireDepthPro(name: string, folder: string, small: readonly string[]): void {
  const config = small.find((file) => /(^|\/)config\.json$/.test(file));
  const type = config && readConfig(folder, config).model_type;
  if (type === "depth_pro") return;
  const what = small.includes("model_index.json")
    ? "a repository of a diffusion model"
    : `a model of type ${type}`;
  if (config === undefined && !small.includes("model_index.json")) return;
  throw new ModelError(name, `this is ${what}, not Depth Pro; apple/DepthPro-hf is`);
}

/** @throws {ModelError} when patterns leave out a whole folder that the model needs. */
function requireFolders(
  name: string,
  kind: ModelKind,
  prefix: string,
  { files, wanted }: { files: readonly string[]; wanted: readonly string[] },
): void {
  if (kind !== "FLUX.1 Depth") return;
  const leftOut = fluxParts.filter((folder) => {
    const isInside = (file: string): boolean => file.startsWith(`${prefix}${folder}/`);
    return files.some(isInside) && !wanted.some(isInside);
  });
  if (leftOut.length > 0)
    throw new ModelError(
      name,
      `the patterns leave out all of ${leftOut.join(", ")}; the model needs ${leftOut.length > 1 ? "these folders" : "this folder"}`,
    );
}

const isFirst = ({ path }: HubFile): boolean => path.endsWith("transformer/config.json");

const without = (excluded: boolean, missing: readonly string[]): string =>
  `the repository has no ${missing.join(", no ")}${excluded ? ", or the patterns leave it out" : ""}; a model in the layout of diffusers, with safetensors weights, needs it`;

/** The path must stay inside the repository and lead to a folder. */
function checkPath(model: string, path: string): void {
  if (/\.(safetensors|gguf|ckpt|pth?|bin)$/.test(path))
    throw new ModelError(
      model,
      `${path} is a checkpoint in one file, which is not read; name a repository or folder in the layout of diffusers`,
    );
  if (/^[/\\]|(^|[/\\])\.\.([/\\]|$)/.test(path))
    throw new ModelError(model, `${path} leads out of the repository`);
}

/** How many files come at once. */
const atOnce = 4;

interface TransferOptions {
  /** The repository. */
  readonly name: string;
  readonly onProgress: ObtainOptions["onProgress"];
  /** Aborted by the first failure. */
  readonly failed: AbortController;
}

/** The files of one download, several at once, counted together. */
class Transfer {
  readonly #cache: RepositoryCache;
  readonly #commit: string;
  readonly #options: TransferOptions;
  readonly #held = new Map<string, { bytes: number; total: number }>();
  readonly #current = new Set<string>();
  #told = 0;

  constructor(cache: RepositoryCache, commit: string, options: TransferOptions) {
    this.#cache = cache;
    this.#commit = commit;
    this.#options = options;
  }

  async fetch(files: readonly HubFile[]): Promise<void> {
    let toCome = 0;
    for (const file of files) {
      const bytes = await this.#cache.held(file, this.#commit);
      this.#held.set(file.path, { bytes, total: file.bytes });
      toCome += file.bytes - bytes;
    }
    await this.#cache.requireSpace(toCome);
    const queue = [...files];
    const work = async (): Promise<void> => {
      for (let file = queue.shift(); file; file = queue.shift()) {
        const counted = this.#held.get(file.path)!;
        this.#current.add(file.path);
        await this.#cache.fetch(file, this.#commit, (bytes) => {
          counted.bytes = bytes;
          this.#tell();
        });
        this.#current.delete(file.path);
        this.#tell({ now: true });
      }
    };
    const workers = Array.from({ length: Math.min(atOnce, files.length) }, () =>
      work().catch((error: unknown) => this.#options.failed.abort(error)),
    );
    await Promise.all(workers);
    this.#options.failed.signal.throwIfAborted();
  }

  #tell({ now = false } = {}): void {
    const time = performance.now();
    if (!now && time - this.#told < 100) return;
    this.#told = time;
    const all = [...this.#held.values()];
    this.#options.onProgress?.({
      component: this.#options.name,
      state: "download",
      bytes: all.reduce((sum, { total }) => sum + total, 0),
      bytesDone: all.reduce((sum, { bytes }) => sum + bytes, 0),
      files: all.length,
      filesDone: all.filter(({ bytes, total }) => bytes === total).length,
      current: [...this.#current],
    });
  }
}
