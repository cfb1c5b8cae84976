import bullmq = require("bullmq");

import type { Redis } from "ioredis";
import type { Offer } from "../dispatcher.js";
import { attemptOf, bullId, bullPriority, queueName } from "./keys.js";

export interface QueuesOptions {
  readonly redis: Redis;
  readonly prefix: string;
  readonly leaseMs: number;
}

/** The name of all jobs in BullMQ. */
const jobName = "job";

/** Jobs leave nothing behind: the ledger has their history. */
const kept = { removeOnComplete: true, removeOnFail: true } as const;

/** BullMQ's queues, one per model. */
export class Queues {
  readonly #options: bullmq.QueueOptions & Pick<bullmq.WorkerOptions, "lockDuration">;
  readonly #queues = new Map<string, bullmq.Queue>();

  constructor({ redis, prefix, leaseMs }: QueuesOptions) {
    this.#options = {
      connection: redis,
      prefix,
      lockDuration: leaseMs,
      // The events are never read.
      streams: { events: { maxLen: 100 } },
      // The link has seen that Redis is there, and has looked at its version.
      skipWaitingForReady: true,
      skipVersionCheck: true,
    };
  }

  /** Adds a job; one that is there stays as it is. */
  async add(offer: Offer): Promise<void> {
    const { id, attempt, priority, model } = offer;
    await this.#named(queueName(model)).add(jobName, offer, {
      ...kept,
      jobId: bullId(id, attempt + 1),
      priority: bullPriority(priority),
    });
  }

  /**
   * Moves the first job of a queue to the active ones, with a lock.
   * @param token opens the lock.
   * @returns the job as it was offered; null if the queue is empty.
   */
  async take(model: string, { token, worker }: { token: string; worker: string }): Promise<Offer | null> {
    const [job, id] = await this.#backend(queueName(model)).moveToActive(token, worker);
    // The id has the attempt; the data may be from an outdated offer.
    return job ? { ...(JSON.parse(job.data) as Offer), attempt: attemptOf(id).attempt - 1 } : null;
  }

  /** Ends a job. @returns false if it has another lock or none. */
  async complete({ id, attempt, model }: Offer, token: string): Promise<boolean> {
    const queue = this.#named(queueName(model));
    const job = new bullmq.Job(queue, jobName, {}, kept, bullId(id, attempt + 1));
    try {
      await job.moveToCompleted(null, token, false);
      return true;
    } catch (error) {
      if (lockErrors.has((error as { code?: number }).code ?? 0)) return false;
      throw error;
    }
  }

  /** Removes an attempt that waits, or whose lock has expired. @returns false if it is locked. */
  async remove(queue: string, id: string, attempt: number): Promise<boolean> {
    return (await this.#backend(queue).remove(bullId(id, attempt), false)) === 1;
  }

  #named(name: string): bullmq.Queue {
    const known = this.#queues.get(name);
    if (known) return known;
    const queue = new bullmq.Queue(name, this.#options);
    // The link hears the same errors from the connection.
    queue.on("error", () => {});
    this.#queues.set(name, queue);
    return queue;
  }

  #backend(name: string): bullmq.IQueueBackend {
    return this.#named(name).getBackend();
  }
}

/** How BullMQ says that a job is not, or no longer, locked with a token. */
const lockErrors: ReadonlySet<number> = new Set([
  bullmq.ErrorCode.JobNotExist,
  bullmq.ErrorCode.JobLockNotExist,
  bullmq.ErrorCode.JobNotInState,
  bullmq.ErrorCode.JobLockMismatch,
]);
