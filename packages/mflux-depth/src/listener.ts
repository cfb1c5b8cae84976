/** A job that a {@link Listener} can fail. */
export interface ListenedJob extends Disposable {
  /** Aborts when the job is cancelled, and with the listener's error when that fails. */
  readonly signal: AbortSignal;
}

/**
 * A caller's function that receives the events of jobs. Events arrive from timers, streams and other processes, where an
 * error would end the caller's process. If the function throws, or rejects because it is asynchronous, the current job is
 * aborted with its error instead. Errors that arrive after the job has ended are dropped.
 */
export class Listener<Event> {
  readonly #listen: ((event: Event) => unknown) | undefined;
  readonly #jobs = new Set<AbortController>();

  constructor(listen: ((event: Event) => unknown) | undefined) {
    this.#listen = listen;
  }

  /** Passes on an event. Never throws. */
  readonly tell = (event: Event): void => {
    // Only the current jobs: another may have begun by the time an asynchronous listener rejects.
    const jobs = [...this.#jobs];
    const fail = (error: unknown): void => {
      for (const job of jobs) job.abort(error);
    };
    try {
      // Any promise, including those of other libraries or realms.
      const returned = this.#listen?.(event);
      if (isThenable(returned)) returned.then(undefined, fail);
    } catch (error) {
      fail(error);
    }
  };

  /**
   * Begins a job; disposing ends it.
   * @param signal the job's cancellation.
   */
  job(signal: AbortSignal | undefined): ListenedJob {
    const controller = new AbortController();
    const cancel = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", cancel, { once: true });
    if (signal?.aborted) cancel();
    this.#jobs.add(controller);
    return {
      signal: controller.signal,
      [Symbol.dispose]: () => {
        this.#jobs.delete(controller);
        signal?.removeEventListener("abort", cancel);
      },
    };
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
