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
  readonly ledger: Ledger;
  readonly history: History;
  readonly files: FileStore;
  readonly checkpoints: Checkpoints;
}

const dayMs = 24 * 60 * 60 * 1000;

/** Deletes what is no longer kept. Starred jobs stay, and a job goes as a whole, with everything that it made. */
export class Upkeep {
  readonly #tools: UpkeepTools;
  readonly #options: UpkeepOptions;

  constructor(tools: UpkeepTools, options: UpkeepOptions) {
    this.#tools = tools;
    this.#options = options;
  }

  /** Does everything that is due. @param now milliseconds since 1970. */
  async run(now: number = Date.now()): Promise<void> {
    const { ledger } = this.#tools;
    this.#deleteOld(now);
    this.#deleteLarge(now);
    ledger.write(() => {
      ledger.files.expireBlobs(now - dayMs);
      ledger.events.prune();
    });
    await this.collect(now);
  }

  /** Deletes files and checkpoints that nothing needs. While a backup copies files, they stay. */
  async collect(now: number = Date.now()): Promise<void> {
    const { ledger, files, checkpoints } = this.#tools;
    this.collectFiles(await files.list(), now);
    const unfinished = [...ledger.jobs.queued(), ...ledger.jobs.running()].map(({ id }) => id);
    await checkpoints.keepOnly(new Set(unfinished));
  }

  /** Deletes those of some files that nothing needs, unless a backup copies files. */
  collectFiles(candidates: readonly string[], now: number = Date.now()): void {
    const { ledger, files } = this.#tools;
    if (ledger.settings.backupUntil > now) return;
    files.collect(candidates, (sha256) => ledger.files.isNeeded(sha256));
  }

  #deleteOld(now: number): void {
    const { keepDays } = this.#options;
    if (keepDays === undefined) return;
    this.#deleteWhile(now - keepDays * dayMs, () => true);
  }

  #deleteLarge(now: number): void {
    const { keepGb } = this.#options;
    if (keepGb === undefined) return;
    this.#deleteWhile(now + 1, () => this.#tools.ledger.files.bytesOfJobs() > keepGb * 1e9);
  }

  /** Deletes finished jobs that ended before a time, the oldest first. */
  #deleteWhile(before: number, goesOn: () => boolean): void {
    const { ledger, history } = this.#tools;
    while (goesOn()) {
      const id = ledger.jobs.oldestFinished(before);
      if (id === null) return;
      history.deleted(id);
    }
  }
}
