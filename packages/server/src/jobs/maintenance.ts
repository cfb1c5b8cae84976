import type { Reserve } from "../data-folder/reserve.js";
import type { RemoteAttempts } from "../fleet/remote-attempts.js";
import type { Upkeep } from "../upkeep/upkeep.js";
import type { WorkerRegistry } from "./worker-registry.js";

/** How often to check the disk and delete what has expired. */
const upkeepMs = 60_000;
/** How often to compare all stored files with the ledger. */
const sweepMs = 60 * upkeepMs;

export interface MaintenanceTools {
  readonly reserve: Reserve;
  readonly upkeep: Upkeep;
  readonly remote: RemoteAttempts;
  readonly workers: WorkerRegistry;
  readonly onProblem: (message: string, error: unknown) => void;
}

/** The periodic tasks of a service. A failure is reported, and the task is tried again at the next interval. */
export class Maintenance {
  readonly #tools: MaintenanceTools;
  readonly #timers: readonly NodeJS.Timeout[];

  constructor(tools: MaintenanceTools) {
    this.#tools = tools;
    this.#timers = [
      setInterval(() => void this.#maintain(), upkeepMs),
      setInterval(() => void this.#sweep(), sweepMs),
    ];
  }

  /** Runs all tasks now. */
  async run(): Promise<void> {
    await this.#maintain();
    await this.#sweep();
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #maintain(): Promise<void> {
    const { reserve, upkeep, remote, workers, onProblem } = this.#tools;
    try {
      await reserve.restore();
      upkeep.run();
      remote.prune();
      workers.save();
    } catch (error) {
      onProblem("Expired jobs and pictures could not be deleted.", error);
    }
  }

  async #sweep(): Promise<void> {
    const { upkeep, onProblem } = this.#tools;
    try {
      await upkeep.sweep();
    } catch (error) {
      onProblem("Unneeded files could not be deleted.", error);
    }
  }
}
