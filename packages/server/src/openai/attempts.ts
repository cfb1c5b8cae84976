/*
 * Which jobs belong to which request of OpenAI's clients. Their clients repeat a request whose answer they did not get,
 * and say so; the repeat gets the jobs of the first attempt.
 */
import type { JobState } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { JobService } from "../jobs/service.js";

/** How long a repeat finds jobs that have finished. */
const memoryMs = 10 * 60_000;

interface Attempt {
  readonly jobs: readonly string[];
  /** Requests that wait for the jobs. */
  waiting: number;
  /** Cancels or forgets the jobs later. */
  timer: NodeJS.Timeout | undefined;
}

export class Attempts {
  readonly #service: JobService;
  readonly #graceMs: number;
  readonly #byContent = new Map<string, Attempt>();

  /** @param graceMs how long jobs go on after their client has left. */
  constructor(service: JobService, graceMs = 60_000) {
    this.#service = service;
    this.#graceMs = graceMs;
  }

  /**
   * Starts jobs for a request, or attaches a repeat to those of the first one. Call `leave` with the result of the wait.
   * @param content a hash of the request
   */
  async join(
    content: string,
    isRepeat: boolean,
    start: () => Promise<readonly string[]>,
  ): Promise<{
    readonly jobs: readonly string[];
    readonly leave: (outcome: "finished" | "failed" | "left") => void;
  }> {
    const known = isRepeat ? this.#byContent.get(content) : undefined;
    const isThere = known?.jobs.every((id) => this.#stateOf(id) !== null) ?? false;
    const attempt = known && isThere ? known : { jobs: await start(), waiting: 0, timer: undefined };
    this.#byContent.set(content, attempt);
    clearTimeout(attempt.timer);
    attempt.waiting++;
    return { jobs: attempt.jobs, leave: (outcome) => this.#leave(content, attempt, outcome) };
  }

  /** Forgets all attempts, so that the process can end. */
  close(): void {
    for (const { timer } of this.#byContent.values()) clearTimeout(timer);
    this.#byContent.clear();
  }

  #leave(content: string, attempt: Attempt, outcome: "finished" | "failed" | "left"): void {
    attempt.waiting--;
    const forget = (): void => {
      if (this.#byContent.get(content) === attempt) this.#byContent.delete(content);
    };
    // A repeat starts anew after a failure.
    if (outcome === "failed") forget();
    if (attempt.waiting > 0) return;
    if (outcome === "failed") {
      // Nobody wants the other images of the request.
      this.#cancelAll(attempt);
      return;
    }
    const cancel = (): void => {
      // What has finished meanwhile is as good for a repeat as if the client had stayed.
      if (attempt.jobs.every((id) => this.#stateOf(id) === "succeeded")) {
        attempt.timer = setTimeout(forget, memoryMs).unref();
        return;
      }
      forget();
      this.#cancelAll(attempt);
    };
    attempt.timer = (
      outcome === "left" ? setTimeout(cancel, this.#graceMs) : setTimeout(forget, memoryMs)
    ).unref();
  }

  /** Cancels the jobs that have not finished. */
  #cancelAll({ jobs }: Attempt): void {
    for (const id of jobs) this.#service.cancel(id).catch(() => {});
  }

  /** Null for a job that was deleted. */
  #stateOf(id: string): JobState | null {
    try {
      return this.#service.get(id).state;
    } catch (error) {
      if (error instanceof ServiceError && error.code === "not_found") return null;
      throw error;
    }
  }
}
