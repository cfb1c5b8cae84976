import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Claim, ClaimEnd, ClaimRequest, Dispatcher, Offer } from "../dispatcher.js";
import { type Bound, byTurn, choose, usualBound } from "../order.js";
import { Keys, queueName } from "./keys.js";
import { RedisLink } from "./link.js";
import { type Message, readMessage } from "./messages.js";
import { Monitor } from "./monitor.js";
import type { AttemptRef, RedisDispatcherOptions } from "./options.js";
import { Ownership, RedisTaken, takenMessage } from "./ownership.js";
import { Queues } from "./queues.js";
import { Scripts, type View } from "./scripts.js";
import { Waits } from "./waits.js";

export type { AttemptRef, LedgerView, RedisDispatcherOptions } from "./options.js";

interface Lease {
  /** The job as it was offered. */
  readonly offer: Offer;
  readonly claim: Claim;
  readonly end: AbortController;
  /** Opens BullMQ's lock. */
  readonly token: string;
}

/** How often a worker looks for jobs without having been told of one. */
const lookMs = 3000;

/**
 * The dispatcher of many machines: BullMQ on Redis carries the jobs, with a queue for each model and an attempt's number
 * in each id. The API has one instance, which sees to it that Redis agrees with the ledger; each worker has its own.
 *
 * Redis may be away, or come back empty, at any time. Nothing throws in that case: claims wait, the API's instance
 * repeats missed offers once Redis is back, and operations on a lease report that it is lost, so that the worker asks
 * the API.
 */
export class RedisDispatcher implements Dispatcher {
  readonly #keys: Keys;
  readonly #link: RedisLink;
  readonly #scripts: Scripts;
  readonly #queues: Queues;
  readonly #waits = new Waits();
  readonly #monitor: Monitor | null;
  /** Null in workers, who take jobs of whatever API has this Redis. */
  readonly #ownership: Ownership | null;
  readonly #leaseMs: number;
  readonly #bound: Bound;
  /** By job: a worker has at most one attempt at a job. */
  readonly #leases = new Map<string, Lease>();
  /** The models of the queues that were seen. */
  readonly #models = new Map<string, string>();
  readonly #lostListeners = new Set<(claim: Claim) => void>();
  readonly #closing = new AbortController();

  constructor({
    url,
    prefix = "{mflux-depth}",
    ledger,
    leaseMs = 30_000,
    bound = usualBound,
    onProblem = () => {},
  }: RedisDispatcherOptions) {
    this.#leaseMs = leaseMs;
    this.#bound = bound;
    this.#keys = new Keys(prefix);
    this.#link = new RedisLink({
      url,
      channel: this.#keys.channel,
      onMessage: (text) => this.#hear(readMessage(text)),
      onReady: () => {
        this.#ownership?.forget();
        this.#waits.wake();
        this.#monitor?.wake();
      },
      onProblem,
      // All instances reconnect well within a lease.
      retryMs: Math.min(2000, leaseMs / 15),
    });
    const { redis } = this.#link;
    this.#scripts = new Scripts(redis, this.#keys);
    this.#queues = new Queues({ redis, prefix, leaseMs });
    this.#ownership = ledger ? new Ownership(this.#scripts, ledger.id) : null;
    this.#monitor = ledger
      ? new Monitor({
          ledger,
          leaseMs,
          link: this.#link,
          keys: this.#keys,
          ownership: this.#ownership!,
          scripts: this.#scripts,
          queues: this.#queues,
          offer: (offer) => this.#offer(offer),
          lost: (attempt) => this.#declareLost(attempt),
        })
      : null;
  }

  /** Whether Redis can be reached. */
  get up(): boolean {
    return this.#link.up;
  }

  /** "ok", or a sentence about what is wrong with Redis. */
  get health(): string {
    const { health } = this.#link;
    return health === "ok" && this.#ownership?.isTaken ? takenMessage : health;
  }

  /** Takes Redis for the API's ledger, if it can be reached. @throws {RedisTaken} if another API has it. */
  async own(): Promise<void> {
    await this.#attempt(async () => {}, undefined);
    if (this.#ownership?.isTaken) throw new RedisTaken();
  }

  /** How many jobs wait in Redis; null while it is away. */
  async waiting(): Promise<number | null> {
    return this.#link.attempt<number | null>(() => this.#scripts.count(), null);
  }

  async offer(offer: Offer): Promise<void> {
    const offered = await this.#attempt(async () => {
      await this.#offer(offer);
      return true;
    }, false);
    if (!offered) this.#monitor?.missed();
  }

  async claim(request: ClaimRequest): Promise<Claim> {
    const signal = AbortSignal.any([request.signal, this.#closing.signal]);
    for (let crowd = 0; ; ) {
      signal.throwIfAborted();
      const { news } = this.#waits;
      const taken = await this.#attempt(() => this.#take(request), null);
      if (taken === "again") {
        // The wait grows with the number of lost races, which suggests how many compete.
        await sleep(Math.random() * Math.min(1.3 ** ++crowd, 1000));
      } else if (taken === null) {
        await this.#waits.after(news, lookMs, signal);
        crowd = 0;
      } else {
        if (!signal.aborted) return taken;
        await this.#putBack(taken);
      }
    }
  }

  async renew(claim: Claim): Promise<boolean> {
    const lease = this.#leaseOf(claim);
    if (!lease) return false;
    const place = { ...claim, queue: queueName(lease.offer.model) };
    return this.#link.attempt(() => this.#scripts.renew(place, lease.token, this.#leaseMs), false);
  }

  async finish(claim: Claim): Promise<boolean> {
    return (await this.#release(claim)) !== null;
  }

  async giveBack(claim: Claim): Promise<boolean> {
    const offer = await this.#release(claim);
    if (offer) await this.offer({ ...offer, attempt: claim.attempt });
    return offer !== null;
  }

  async cancel(id: string): Promise<"removed" | "claimed" | "unknown"> {
    return this.#link.attempt(async () => {
      const found = await this.#scripts.find(id);
      if (found?.waits && (await this.#queues.remove(found.queue, id, found.attempt))) {
        await this.#scripts.forget(id, found.attempt);
        return "removed";
      }
      // Redis may have lost the job while its worker continues.
      await this.#tell({ type: "cancelled", id });
      return found ? "claimed" : "unknown";
    }, "unknown");
  }

  async pause(): Promise<void> {
    this.#monitor?.hold(true);
    const token = randomUUID();
    await this.#attempt(async () => {
      // Wait for the worker that is choosing, so that no job starts after this returns.
      while (!(await this.#scripts.takeTurn(token))) await sleep(5);
      await this.#scripts.hold(true);
      await this.#scripts.settle(token, { now: 0, taken: null, overtaken: [] });
    }, undefined);
  }

  async resume(): Promise<void> {
    this.#monitor?.hold(false);
    await this.#attempt(async () => {
      await this.#scripts.hold(false);
    }, undefined);
  }

  onLost(listener: (claim: Claim) => void): () => void {
    this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  /** Makes Redis agree with the ledger now. It happens by itself after a start, an outage, and now and then. */
  async reconcile(): Promise<void> {
    await this.#monitor?.reconcile();
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("The dispatcher was closed."));
    for (const { end } of this.#leases.values()) end.abort("lost" satisfies ClaimEnd);
    this.#leases.clear();
    this.#link.close();
    await this.#monitor?.stop();
  }

  /** Does work with Redis. @returns what it returns, or `otherwise` if Redis is away, refuses, or is another API's. */
  async #attempt<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    const ownership = this.#ownership;
    return this.#link.attempt(
      async () => (ownership === null || (await ownership.holds()) ? work() : otherwise),
      otherwise,
    );
  }

  // ---------------------------------------------------------------- offers

  async #offer(offer: Offer): Promise<void> {
    const attempt = await this.#scripts.admit(offer);
    if (attempt === 0) return;
    const admitted = { ...offer, attempt: attempt - 1 };
    await this.#queues.add(admitted);
    const replaced = await this.#scripts.place(admitted);
    if (replaced > 0) await this.#queues.remove(queueName(offer.model), offer.id, replaced);
  }

  // ---------------------------------------------------------------- claims

  /** @returns a job; null if there is none; "again" if another one was quicker. */
  async #take(request: ClaimRequest): Promise<Claim | "again" | null> {
    const { accepts = () => true } = request;
    const token = randomUUID();
    const refused = [...this.#models].filter(([, model]) => !accepts(model)).map(([queue]) => queue);
    const look = await this.#scripts.look(token, { refused, count: this.#bound.places + 1 });
    if (look.state !== "turn") return look.state === "busy" ? "again" : null;
    for (const model of new Set(look.view.jobs.map((job) => job.model)))
      this.#models.set(queueName(model), model);
    return this.#choose(look.view, { ...request, accepts }, token);
  }

  /** Takes the job whose turn it is. Only the instance that has the turn calls this. */
  async #choose(
    { now, jobs }: View,
    { worker, model, accepts }: Required<ClaimRequest>,
    token: string,
  ): Promise<Claim | "again" | null> {
    const queue = jobs
      .filter((job) => accepts(job.model))
      .sort(byTurn)
      .slice(0, this.#bound.places + 1);
    const choice = choose(queue, model, { now, bound: this.#bound });
    let taken: Offer | null = null;
    let last = 0;
    try {
      if (choice) taken = await this.#queues.take(choice.chosen.model, { token, worker });
    } finally {
      const overtaken = taken && choice ? choice.overtaken.map(({ id }) => id) : [];
      // If this fails, keep the job that was taken.
      last = await this.#link.attempt(() => this.#scripts.settle(token, { now, taken, overtaken }), 0);
    }
    if (!taken) return choice ? "again" : null;
    if (last <= taken.attempt + 1) return this.#lease(taken, { worker, token });
    // A later attempt has been offered since.
    await this.#queues.complete(taken, token);
    return "again";
  }

  #lease(offer: Offer, { worker, token }: { worker: string; token: string }): Claim {
    const end = new AbortController();
    const claim = { id: offer.id, attempt: offer.attempt + 1, worker, signal: end.signal };
    this.#leases.set(offer.id, { offer, claim, end, token });
    return claim;
  }

  #leaseOf({ id, attempt }: Pick<Claim, "id" | "attempt">): Lease | null {
    const lease = this.#leases.get(id);
    return lease?.claim.attempt === attempt ? lease : null;
  }

  /** Offers a job that was taken but not begun again, under the same attempt number. */
  async #putBack(claim: Claim): Promise<void> {
    const offer = await this.#release(claim);
    if (offer) await this.offer(offer);
  }

  /** Ends a lease. @returns the job; null if the lease was lost. */
  async #release(claim: Claim): Promise<Offer | null> {
    const lease = this.#leaseOf(claim);
    if (!lease) return null;
    this.#leases.delete(claim.id);
    return this.#link.attempt(async () => {
      if (!(await this.#queues.complete(lease.offer, lease.token))) return null;
      await this.#scripts.forget(claim.id, claim.attempt);
      return lease.offer;
    }, null);
  }

  // ---------------------------------------------------------------- messages

  async #tell(message: Message): Promise<void> {
    await this.#link.redis.publish(this.#keys.channel, JSON.stringify(message));
  }

  #hear(message: Message | null): void {
    switch (message?.type) {
      case "look":
        // Spread wake-ups over time, so that not every instance tries to claim at once.
        this.#waits.wake(Math.random() * Math.min(250, message.listeners / 4));
        break;
      case "cancelled":
        this.#leases.get(message.id)?.end.abort("cancelled" satisfies ClaimEnd);
        break;
      case "lost":
        this.#lose(message);
        break;
    }
  }

  /** @returns the claim, if it was one of this instance. */
  #lose(attempt: Pick<Claim, "id" | "attempt">): Claim | null {
    const lease = this.#leaseOf(attempt);
    if (!lease) return null;
    this.#leases.delete(attempt.id);
    lease.end.abort("lost" satisfies ClaimEnd);
    return lease.claim;
  }

  /** Tells an attempt's worker, on whatever machine, and the listeners that the attempt is lost. */
  async #declareLost({ id, attempt, worker }: AttemptRef): Promise<void> {
    await this.#tell({ type: "lost", id, attempt });
    const signal = AbortSignal.abort("lost" satisfies ClaimEnd);
    const claim = this.#lose({ id, attempt }) ?? { id, attempt, worker, signal };
    for (const listener of this.#lostListeners) listener(claim);
  }
}
