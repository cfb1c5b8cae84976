import { setTimeout as sleep } from "node:timers/promises";
import type { Claim, Dispatcher } from "../dispatch/dispatcher.js";
import type { JobRecord } from "../ledger/jobs.js";
import { Attempt, type AttemptTools } from "./attempt.js";

export interface RunnerOptions extends AttemptTools {
  readonly dispatcher: Dispatcher;
  /** The id of the worker. */
  readonly worker: string;
  /** How often a lease is renewed; 10 seconds by default. */
  readonly renewMs?: number;
}

/** How long a worker waits after an attempt that could not be recorded. */
const retryMs = 1000;

/** The reason of attempts that end because their worker stops. */
const workerStops = "worker-stops";

/** A worker of this process: claims jobs, and runs one at a time. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #stopping = new AbortController();
  #drained = false;
  /** Ends the wait for a job. */
  #waiting = new AbortController();
  #running: JobRecord | null = null;
  /** The last generation, whose model the engine may hold. */
  #last: JobRecord | null = null;
  /** Called when draining begins or ends. */
  #wake: () => void = () => {};
  #loop: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** The id of the job in progress. */
  get job(): string | null {
    return this.#running?.id ?? null;
  }

  /** The name of the model in memory; null if there is none. */
  get modelName(): string | null {
    return (this.#holder?.load.model as string | undefined) ?? null;
  }

  /** The job whose model is in memory. */
  get #holder(): JobRecord | null {
    return this.#running ?? (this.#options.engine.held ? this.#last : null);
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Takes no more jobs; the one in progress goes on. */
  drain(): void {
    this.#drained = true;
    this.#waiting.abort(new Error("The worker drains."));
  }

  resume(): void {
    this.#drained = false;
    this.#wake();
  }

  /** Ends: the job in progress is left at its last checkpoint. */
  async stop(): Promise<void> {
    this.#stopping.abort(workerStops);
    this.#waiting.abort(new Error("The worker stops."));
    this.#wake();
    // Killing the engine is quicker than the end of a step.
    await this.#options.engine.close();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const claim = await this.#claim();
      if (!claim) continue;
      try {
        await this.#work(claim);
      } catch (error) {
        this.#options.onProblem(`An attempt at the job ${claim.id} could not be recorded.`, error);
        await this.#recover(claim);
      }
    }
  }

  /** Puts a job back into the queue after its attempt could not be recorded. */
  async #recover(claim: Claim): Promise<void> {
    const { dispatcher, history, ledger, onProblem } = this.#options;
    // The ledger may need a moment, such as for a disk that others fill.
    await sleep(retryMs, undefined, { signal: this.#stopping.signal }).catch(() => {});
    try {
      history.interrupted(claim.id, claim.attempt, "interrupted");
      if (ledger.jobs.find(claim.id)?.cancelRequested) history.cancelledQueued(claim.id);
      await dispatcher.giveBack(claim);
    } catch (error) {
      onProblem(`The job ${claim.id} will continue when the server next starts.`, error);
    }
  }

  /** @returns null if there is to be no job now. */
  async #claim(): Promise<Claim | null> {
    if (this.#drained) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#stopping.signal.aborted) resolve();
      });
      return null;
    }
    this.#waiting = new AbortController();
    const { signal } = this.#waiting;
    const { dispatcher, worker } = this.#options;
    try {
      return await dispatcher.claim({ worker, model: this.#holder?.model ?? null, signal });
    } catch (error) {
      if (!signal.aborted && !this.#stopping.signal.aborted) throw error;
      return null;
    }
  }

  async #work(claim: Claim): Promise<void> {
    const { dispatcher, history, ledger, worker, renewMs = 10_000 } = this.#options;
    const { id, attempt } = claim;
    const job = history.started(id, attempt, worker) ? ledger.jobs.find(id) : null;
    if (!job) {
      // It was cancelled or deleted on its way here.
      await dispatcher.finish(claim);
      return;
    }
    this.#running = job;
    const signal = AbortSignal.any([claim.signal, this.#stopping.signal]);
    const renewal = setInterval(() => void dispatcher.renew(claim), renewMs);
    try {
      const end = await new Attempt(this.#options, job, { signal }).run();
      if (end === "unfinished") await dispatcher.giveBack(claim);
      else await dispatcher.finish(claim);
    } finally {
      clearInterval(renewal);
      if (job.kind === "generate") this.#last = job;
      this.#running = null;
    }
  }
}
