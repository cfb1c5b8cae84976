import { join } from "node:path";
import { ModelError } from "../errors.js";
import { Listener } from "../listener.js";
import { RepositoryCache } from "./cache.js";
import { HubClient, type HubFile } from "./client.js";
import type { NeededFiles, RepositoryKind } from "./kind.js";
import { isWanted, type Patterns } from "./patterns.js";
import { Changed } from "./refusal.js";
import type { Patience } from "./retry.js";
import type { HubSettings } from "./settings.js";
import { type DownloadProgress, Transfer } from "./transfer.js";
import type { Waiting } from "./waiting.js";

/** The model to download, and how to choose among its files. */
export interface Selection {
  readonly repository: string;
  /** A branch, tag or commit. */
  readonly revision: string;
  /** The variant of the weights: the middle of `model.fp16.safetensors`. */
  readonly variant: string | undefined;
  /** The model's folder inside the repository; "" for the repository itself. */
  readonly path: string;
  readonly patterns: Patterns;
}

export interface DownloadOptions {
  readonly kind: RepositoryKind;
  readonly settings: HubSettings;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined;
  readonly patience: Partial<Patience> | undefined;
}

/** A commit in the cache. */
export interface Snapshot {
  readonly commit: string;
  readonly folder: string;
}

/**
 * Downloads the files that a model needs into the cache, those that identify it first. If a file is replaced on the Hub
 * during the download, the repository is listed once more.
 * @throws {ModelError} if the repository lacks a file, is of another kind, or cannot be downloaded.
 * @throws the signal's reason when cancelled.
 */
export async function downloadRepository(selection: Selection, options: DownloadOptions): Promise<Snapshot> {
  checkRevision(selection);
  try {
    return await attemptDownload(selection, options);
  } catch (error) {
    if (!(error instanceof Changed)) throw error;
  }
  try {
    return await attemptDownload(selection, options);
  } catch (error) {
    if (!(error instanceof Changed)) throw error;
    throw new ModelError(
      selection.repository,
      `the repository is changing on the Hub during the download (${error.message}); run this again later`,
      { cause: error },
    );
  }
}

/** @throws {ModelError} if the revision is not a valid git name. */
function checkRevision({ repository, revision }: Selection): void {
  if (!/^[^\s~^:?*[\\]+$/.test(revision) || /(^|\/)\.*(\/|$)/.test(revision))
    throw new ModelError(repository, `${JSON.stringify(revision)} cannot be a branch, tag or commit`);
}

/** One attempt. The first file that fails stops the others. */
async function attemptDownload(
  selection: Selection,
  { kind, settings, signal, onProgress, patience }: DownloadOptions,
): Promise<Snapshot> {
  const { repository, revision, path } = selection;
  const listener = new Listener(onProgress);
  using job = listener.job(signal);
  job.signal.throwIfAborted();
  const failed = new AbortController();
  const cancel = (): void => failed.abort(job.signal.reason);
  job.signal.addEventListener("abort", cancel, { once: true });
  try {
    const onWait = (waiting: Waiting): void => transfer.wait(waiting);
    const client = new HubClient(settings, repository, { signal: failed.signal, patience, onWait });
    const cache = new RepositoryCache(client, { signal: failed.signal, onWait });
    const transfer = new Transfer(cache, { name: repository, onProgress: listener.tell, failed });
    const { commit, files } = await client.list(revision);
    const folder = cache.snapshot(commit);
    const fetch = (wanted: readonly HubFile[]): Promise<void> => transfer.fetch(wanted, commit);
    await fetchModel(fetch, join(folder, path), new SelectedFiles(files, selection, kind), kind);
    await cache.remember(revision, commit);
    return { commit, folder };
  } finally {
    job.signal.removeEventListener("abort", cancel);
  }
}

/** Fetches the small files of a model, uses them to check which kind it is, and only then fetches its weights. */
async function fetchModel(
  fetch: (files: readonly HubFile[]) => Promise<void>,
  folder: string,
  files: SelectedFiles,
  kind: RepositoryKind,
): Promise<void> {
  const { small, missing, weights } = files.needed;
  const isProbe = (file: HubFile): boolean => kind.probe !== undefined && file.path.endsWith(kind.probe);
  const ordered = small.map(files.find).sort((a, b) => Number(isProbe(b)) - Number(isProbe(a)));
  await fetch(ordered.slice(0, 1));
  await fetch(ordered.slice(1));
  kind.check?.(files.repository, folder, small);
  if (missing.length > 0) throw files.lacking(missing);
  await fetch(weights(folder).map(files.find));
}

/** The files of a listing that are in the model's folder and match the patterns. */
class SelectedFiles {
  readonly repository: string;
  /** The files that the model needs, relative to its folder. */
  readonly needed: NeededFiles;
  readonly #listed: ReadonlyMap<string, HubFile>;
  readonly #prefix: string;
  readonly #patterns: Patterns;
  readonly #subject: string;

  /** @throws {ModelError} if the patterns exclude a whole folder that the model needs. */
  constructor(
    listed: ReadonlyMap<string, HubFile>,
    { repository, path, patterns, variant }: Selection,
    kind: RepositoryKind,
  ) {
    this.repository = repository;
    this.#listed = listed;
    this.#prefix = path === "" ? "" : `${path}/`;
    this.#patterns = patterns;
    this.#subject = kind.subject ?? "a diffusers model with safetensors weights";
    this.#requireFolders(kind.folders ?? []);
    const names = [...listed.keys()].filter((file) => this.#isSelected(file));
    this.needed = kind.needed(
      names.map((file) => file.slice(this.#prefix.length)),
      variant,
    );
  }

  /** @throws {ModelError} if the repository lacks the file, or the patterns exclude it. */
  readonly find = (name: string): HubFile => {
    const path = this.#prefix + name;
    const found = this.#listed.get(path);
    if (!found || !this.#isSelected(path)) throw this.lacking([name], found !== undefined);
    return found;
  };

  /** The error for files that the model needs and the selection lacks. */
  lacking(
    names: readonly string[],
    excluded = [...this.#listed.keys()].some((file) => !isWanted(file, this.#patterns)),
  ): ModelError {
    return new ModelError(
      this.repository,
      `${this.#subject} needs ${names.join(", ")}, which the repository lacks${excluded ? " or the patterns exclude" : ""}`,
    );
  }

  #isSelected(file: string): boolean {
    return file.startsWith(this.#prefix) && isWanted(file, this.#patterns);
  }

  #requireFolders(folders: readonly string[]): void {
    const files = [...this.#listed.keys()];
    const excluded = folders.filter((folder) => {
      const inside = files.filter((file) => file.startsWith(`${this.#prefix}${folder}/`));
      return inside.length > 0 && !inside.some((file) => isWanted(file, this.#patterns));
    });
    if (excluded.length > 0)
      throw new ModelError(
        this.repository,
        `the patterns exclude all of ${excluded.join(", ")}; the model needs ${excluded.length > 1 ? "these folders" : "this folder"}`,
      );
  }
}
