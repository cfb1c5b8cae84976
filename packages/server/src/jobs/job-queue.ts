import type { JobState, QueueObject } from "../contract/index.js";
import type { Dispatcher } from "../dispatch/dispatcher.js";
import { RedisDispatcher } from "../dispatch/redis/dispatcher.js";
import type { History } from "../history/history.js";
import type { Ledger } from "../ledger/ledger.js";

/** The queue as a whole: whether jobs start, and how many there are. */
export class JobQueue {
  readonly #ledger: Ledger;
  readonly #history: History;
  readonly #dispatcher: Dispatcher;

  constructor(ledger: Ledger, history: History, dispatcher: Dispatcher) {
    this.#ledger = ledger;
    this.#history = history;
    this.#dispatcher = dispatcher;
  }

  state(): QueueObject {
    const { jobs, settings } = this.#ledger;
    return { paused: settings.paused, queued: this.#history.queued, running: jobs.count("running") };
  }

  /** The number of jobs in each state. */
  counts(): Readonly<Record<JobState, number>> {
    return this.#ledger.jobs.counts();
  }

  /** Whether Redis is reachable, and how many jobs wait in it (null while it is not); null without Redis. */
  async redis(): Promise<{ readonly up: boolean; readonly waiting: number | null } | null> {
    const dispatcher = this.#dispatcher;
    if (!(dispatcher instanceof RedisDispatcher)) return null;
    return { waiting: await dispatcher.waiting(), up: dispatcher.up };
  }

  /** Stops starting jobs. The pause survives restarts. */
  async pause(): Promise<QueueObject> {
    if (!this.#ledger.settings.paused) this.#history.queueChanged(true);
    await this.#dispatcher.pause();
    return this.state();
  }

  async resume(): Promise<QueueObject> {
    if (this.#ledger.settings.paused) this.#history.queueChanged(false);
    await this.#dispatcher.resume();
    return this.state();
  }
}
