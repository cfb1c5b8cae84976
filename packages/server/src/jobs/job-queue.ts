import type { JobState, QueueObject } from "../contract/index.js";
import type { Dispatcher } from "../dispatch/dispatcher.js";
import type { RedisDispatcher } from "../dispatch/redis/dispatcher.js";
import type { History } from "../history/history.js";
import type { Ledger } from "../ledger/ledger.js";

export interface JobQueueTools {
  readonly ledger: Ledger;
  readonly history: History;
  readonly dispatcher: Dispatcher;
  /** The dispatcher if it is one on Redis, or null. */
  readonly redis: RedisDispatcher | null;
}

/** The queue as a whole: whether jobs start, and how many there are. */
export class JobQueue {
  readonly #ledger: Ledger;
  readonly #history: History;
  readonly #dispatcher: Dispatcher;
  readonly #redis: RedisDispatcher | null;

  constructor({ ledger, history, dispatcher, redis }: JobQueueTools) {
    this.#ledger = ledger;
    this.#history = history;
    this.#dispatcher = dispatcher;
    this.#redis = redis;
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
    const redis = this.#redis;
    return redis && { waiting: await redis.waiting(), up: redis.up };
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
