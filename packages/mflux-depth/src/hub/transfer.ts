import type { RepositoryCache } from "./cache.js";
import type { HubFile } from "./client.js";
import type { Waiting } from "./waiting.js";

/** Progress of a download. */
export interface DownloadProgress {
  /** The repository: "owner/name". */
  readonly component: string;
  readonly state: "download";
  /** Size of all needed files. */
  readonly bytes: number;
  /** How many of those bytes are on this machine. */
  readonly bytesDone: number;
  readonly files: number;
  readonly filesDone: number;
  /** Files being downloaded now. */
  readonly current: readonly string[];
  /** The reason for waiting, if nothing has arrived for seconds. */
  readonly waiting?: Waiting;
}

/** Number of files downloaded at the same time. */
const concurrency = 4;

const reportIntervalMs = 100;

export interface TransferOptions {
  /** The repository. */
  readonly name: string;
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined;
  /** Aborted by the first failure, to stop the other files. */
  readonly failed: AbortController;
}

/** Downloads the files of one model, several at a time, and reports them as one download. */
export class Transfer {
  readonly #cache: RepositoryCache;
  readonly #options: TransferOptions;
  readonly #held = new Map<string, { bytes: number; total: number }>();
  readonly #current = new Set<string>();
  #reportedAt = 0;

  constructor(cache: RepositoryCache, options: TransferOptions) {
    this.#cache = cache;
    this.#options = options;
  }

  /**
   * Downloads files; those in the cache already count as done.
   * @throws {ModelError} if the Hub refuses one, or the disk lacks the space for them.
   */
  async fetch(files: readonly HubFile[], commit: string): Promise<void> {
    let remaining = 0;
    for (const file of files) {
      const bytes = await this.#cache.held(file, commit);
      this.#held.set(file.path, { bytes, total: file.bytes });
      remaining += file.bytes - bytes;
    }
    await this.#cache.requireSpace(remaining);
    const queue = [...files];
    const work = async (): Promise<void> => {
      for (let file = queue.shift(); file; file = queue.shift()) await this.#fetchOne(file, commit);
    };
    const workers = Array.from({ length: Math.min(concurrency, files.length) }, () =>
      work().catch((error: unknown) => this.#options.failed.abort(error)),
    );
    await Promise.all(workers);
    this.#options.failed.signal.throwIfAborted();
  }

  /** Reports what the download is waiting for. */
  readonly wait = (waiting: Waiting): void => this.#report(waiting);

  async #fetchOne(file: HubFile, commit: string): Promise<void> {
    const progress = this.#held.get(file.path)!;
    this.#current.add(file.path);
    await this.#cache.fetch(file, commit, (bytes) => {
      progress.bytes = bytes;
      if (performance.now() - this.#reportedAt >= reportIntervalMs) this.#report();
    });
    this.#current.delete(file.path);
    this.#report();
  }

  #report(waiting?: Waiting): void {
    this.#reportedAt = performance.now();
    const all = [...this.#held.values()];
    this.#options.onProgress?.({
      component: this.#options.name,
      state: "download",
      bytes: all.reduce((sum, { total }) => sum + total, 0),
      bytesDone: all.reduce((sum, { bytes }) => sum + bytes, 0),
      files: all.length,
      filesDone: all.filter(({ bytes, total }) => bytes === total).length,
      current: [...this.#current],
      ...(waiting && { waiting }),
    });
  }
}
