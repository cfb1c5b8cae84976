import { setTimeout as sleep } from "node:timers/promises";
import type { Claim, ClaimEnd, Dispatcher } from "../dispatch/dispatcher.js";
import { Attempt, type AttemptTools } from "./attempt.js";
import type { AttemptJob, AttemptRecord, AttemptRecords } from "./attempt-record.js";

export interface RunnerOptions extends AttemptTools {
  readonly records: AttemptRecords;
  readonly dispatcher: Dispatcher;
  /** The id of the worker. */
  readonly worker: string;
  /** Whether the worker can run jobs for a model; all of them by default. */
  readonly accepts?: (model: string) => boolean;
  /** How often a lease is renewed; 10 seconds by default. */
  readonly renewMs?: number;
  /** Called when a job begins or ends. */
  readonly onChange?: () => void;
}

/** How long to wait after an attempt that could not be recorded. */
const retryMs = 1000;

/** The abort reason when the worker stops. */
const workerStops = "worker-stops";

/** A worker of this process: claims jobs, and runs one at a time. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #stopping = new AbortController();
  #drained = false;
  /** Ends the wait for a job. */
  #waiting = new AbortController();
  #running: AttemptJob | null = null;
  /** The last generation, whose model the engine may hold. */
  #last: AttemptJob | null = null;
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

  /** The attempt in progress. */
  get attempt(): { readonly job: string; readonly attempt: number } | null {
    return this.#running && { job: this.#running.id, attempt: this.#running.attempt };
  }

  /** The name of the model in memory; null if there is none. */
  get modelName(): string | null {
    return (this.#holder?.load.model as string | undefined) ?? null;
  }

  /** The job whose model is in memory. */
  get #holder(): AttemptJob | null {
    return this.#running ?? (this.#options.engine.held ? this.#last : null);
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Takes no more jobs; the one in progress continues. */
  drain(): void {
    this.#drained = true;
    this.#waiting.abort(new Error("The worker drains."));
  }

  resume(): void {
    this.#drained = false;
    this.#wake();
  }

  /** Looks for jobs again, after the accepted models have changed. */
  lookAgain(): void {
    this.#waiting.abort(new Error("The worker accepts other models now."));
  }

  /** Stops: the job in progress is left at its last checkpoint. */
  async stop(): Promise<void> {
    this.#stopping.abort(workerStops);
    this.#waiting.abort(new Error("The worker stops."));
    this.#wake();
    // Killing the engine is quicker than waiting for a step.
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
    const { dispatcher, records, onProblem } = this.#options;
    // The ledger may need a moment, for example while other programs fill the disk.
    await sleep(retryMs, undefined, { signal: this.#stopping.signal }).catch(() => {});
    try {
      await records.recover(claim);
      await dispatcher.giveBack(claim);
    } catch (error) {
      onProblem(`The job ${claim.id} will continue once its lease has expired.`, error);
    }
  }

  /** @returns null if no job should start now. */
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
    const { dispatcher, worker, accepts: acceptsHere = () => true } = this.#options;
    // A wait that has just ended must not take a job: it would have to give it back.
    const accepts = (model: string): boolean => !signal.aborted && acceptsHere(model);
    const model = this.#holder?.model ?? null;
    try {
      return await dispatcher.claim({ worker, model, accepts, signal });
    } catch (error) {
      if (!signal.aborted && !this.#stopping.signal.aborted) throw error;
      return null;
    }
  }

  async #work(claim: Claim): Promise<void> {
    const { dispatcher, records } = this.#options;
    using record = await records.begin(claim);
    if (!record) {
      // It was cancelled or deleted before it could begin.
      await dispatcher.finish(claim);
      return;
    }
    const { onChange = () => {}, renewMs = 10_000 } = this.#options;
    this.#running = record.job;
    onChange();
    const lost = new AbortController();
    const signal = AbortSignal.any([claim.signal, record.signal, this.#stopping.signal, lost.signal]);
    const renewal = setInterval(() => {
      void this.#keeps(claim, record).then((keeps) => {
        if (!keeps) lost.abort("lost" satisfies ClaimEnd);
      });
    }, renewMs);
    try {
      const end = await new Attempt(this.#options, record, { signal }).run();
      if (end === "unfinished") await dispatcher.giveBack(claim);
      else if (end === "ended") await dispatcher.finish(claim);
    } finally {
      clearInterval(renewal);
      if (record.job.kind === "generate") this.#last = record.job;
      this.#running = null;
      onChange();
    }
  }

  /** Renews a lease. If that fails, the worker keeps the job as long as the record confirms it. */
  async #keeps(claim: Claim, record: AttemptRecord): Promise<boolean> {
    const isRenewed = await this.#options.dispatcher.renew(claim).catch(() => false);
    // If the API cannot be asked, go on: the records of a lost attempt are dropped.
    return isRenewed || (await record.isCurrent().catch(() => true));
  }
}
