import type { Blobs } from "../blobs/blobs.js";
import type { FileStore } from "../blobs/file-store.js";
import type { History } from "../history/history.js";
import type { Ledger } from "../ledger/ledger.js";
import type { Checkpoints } from "../work/checkpoints.js";

/** What is kept, and for how long. */
export interface UpkeepOptions {
  /** Deletes finished jobs after this many days. */
  readonly keepDays?: number | undefined;
  /** Deletes the oldest finished jobs while the files of jobs take more than this many GB (10⁹ bytes). */
  readonly keepGb?: number | undefined;
}

export interface UpkeepTools {
  readonly blobs: Blobs;
  readonly ledger: Ledger;
  readonly history: History;
  readonly files: FileStore;
  readonly checkpoints: Checkpoints;
}

const dayMs = 24 * 60 * 60 * 1000;

/** Deletes what has expired. Starred jobs stay; a job is deleted together with everything that it made. */
export class Upkeep {
  readonly #tools: UpkeepTools;
  readonly #options: UpkeepOptions;

  constructor(tools: UpkeepTools, options: UpkeepOptions) {
    this.#tools = tools;
    this.#options = options;
  }

  /** Deletes expired jobs and blobs. @param now milliseconds since 1970. */
  run(now: number = Date.now()): void {
    const { ledger, blobs } = this.#tools;
    const released = [...this.#deleteOld(now), ...this.#deleteLarge(now)];
    released.push(...ledger.write(() => ledger.files.expireBlobs(now - dayMs, blobs.lent)));
    this.collectFiles(released, now);
  }

  /** Deletes all stored files that are not needed, such as leftovers of a killed process or a backup. */
  async sweep(now: number = Date.now()): Promise<void> {
    const { ledger, files, checkpoints } = this.#tools;
    ledger.write(() => ledger.events.prune());
    this.collectFiles(await files.list(), now);
    await checkpoints.keepOnly((id) => ledger.jobs.find(id)?.finishedAt === null);
  }

  /** Deletes those candidates that are not needed, unless a backup is copying files. */
  collectFiles(candidates: readonly string[], now: number = Date.now()): void {
    const { ledger, files } = this.#tools;
    if (ledger.settings.backupUntil > now) return;
    files.collect(candidates, (sha256) => ledger.files.isNeeded(sha256));
  }

  #deleteOld(now: number): readonly string[] {
    const { keepDays } = this.#options;
    return keepDays === undefined ? [] : this.#deleteWhile(now - keepDays * dayMs, () => true);
  }

  #deleteLarge(now: number): readonly string[] {
    const { keepGb } = this.#options;
    if (keepGb === undefined) return [];
    return this.#deleteWhile(now + 1, () => this.#tools.ledger.files.bytesOfJobs() > keepGb * 1e9);
  }

  /** Deletes finished jobs that ended before a time, the oldest first. @returns the files that they made. */
  #deleteWhile(before: number, goesOn: () => boolean): readonly string[] {
    const { ledger, history } = this.#tools;
    const made: string[] = [];
    while (goesOn()) {
      const id = ledger.jobs.oldestFinished(before);
      if (id === null) break;
      made.push(...ledger.files.artifactsOf(id).map(({ sha256 }) => sha256));
      history.deleted(id);
    }
    return made;
  }
}
