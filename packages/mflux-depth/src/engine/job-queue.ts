import type { ProcessJob } from "./engine-process.js";
import type { EngineResult } from "./protocol.js";

/** A job that has left the queue. Its taker settles the promise. */
export interface QueuedJob extends ProcessJob {
  readonly resolve: (result: EngineResult) => void;
  readonly reject: (error: unknown) => void;
}

/** Jobs in order of arrival. A cancelled job leaves the queue at once. */
export class JobQueue {
  readonly #entries: { readonly job: QueuedJob; readonly leave: () => void }[] = [];

  get length(): number {
    return this.#entries.length;
  }

  /**
   * Appends a job.
   * @returns its result.
   * @throws the signal's reason if it aborts before the job is taken.
   */
  add(job: ProcessJob): Promise<EngineResult> {
    const { signal } = job;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const leave = (): void => {
        this.#entries.splice(this.#entries.indexOf(entry), 1);
        reject(signal?.reason);
      };
      const entry = { job: { ...job, resolve, reject }, leave };
      this.#entries.push(entry);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  /** Removes and returns the first job. */
  take(): QueuedJob | undefined {
    const entry = this.#entries.shift();
    entry?.job.signal?.removeEventListener("abort", entry.leave);
    return entry?.job;
  }

  rejectAll(reason: unknown): void {
    for (let job = this.take(); job; job = this.take()) job.reject(reason);
  }
}
