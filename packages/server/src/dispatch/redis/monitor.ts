import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Offer } from "../dispatcher.js";
import type { Keys } from "./keys.js";
import type { RedisLink } from "./link.js";
import type { AttemptRef, LedgerView } from "./options.js";
import type { Ownership } from "./ownership.js";
import type { Queues } from "./queues.js";
import type { Scripts } from "./scripts.js";

export interface MonitorOptions {
  readonly ledger: LedgerView;
  readonly leaseMs: number;
  readonly link: RedisLink;
  readonly keys: Keys;
  readonly ownership: Ownership;
  readonly scripts: Scripts;
  readonly queues: Queues;
  readonly offer: (offer: Offer) => Promise<void>;
  /** Tells everybody that an attempt is over. */
  readonly lost: (attempt: AttemptRef) => Promise<void>;
}

/** How many jobs are compared at a time. */
const pieceSize = 256;

/** The largest share of its time that an API spends comparing. */
const share = 1 / 20;

/** In the API's process: takes jobs from workers that are silent, and makes Redis agree with the ledger. */
export class Monitor {
  readonly #options: MonitorOptions;
  /** What {@link Keys.agreed} says while Redis has everything that this instance gave it. */
  readonly #token = randomUUID();
  readonly #stopping = new AbortController();
  #paused = false;
  /** Ends the wait for the next look. */
  #wake = new AbortController();
  /** When everything is to be compared again, of `performance.now()`. */
  #due = 0;
  /** How many offers have not reached Redis. */
  #misses = 0;
  readonly #loop: Promise<void>;

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#loop = this.#run();
  }

  /** Redis can be reached again, and may lack anything. */
  wake(): void {
    this.missed();
    this.#wake.abort();
  }

  /** An offer did not reach Redis. */
  missed(): void {
    this.#misses++;
    this.#due = 0;
  }

  /** Sets whether jobs are held back, even after Redis has lost the setting. */
  hold(paused: boolean): void {
    this.#paused = paused;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { leaseMs, link } = this.#options;
    while (!this.#stopping.signal.aborted) {
      this.#wake = new AbortController();
      try {
        if (link.up) await this.#look();
      } catch (error) {
        if (link.up) link.report("Redis could not be compared with the ledger.", error);
      }
      await sleep(leaseMs / 6, undefined, { signal: this.#wake.signal, ref: false }).catch(() => {});
    }
  }

  async #look(): Promise<void> {
    const { link, keys, ownership } = this.#options;
    if (!(await ownership.look())) return;
    const agrees = (await link.redis.get(keys.agreed)) === this.#token;
    if (!agrees || performance.now() >= this.#due) await this.reconcile();
    await this.#takeOver();
  }

  // ---------------------------------------------------------------- silent workers

  /** Takes jobs from workers that have not renewed their leases, and from which the API has not heard, either. */
  async #takeOver(): Promise<void> {
    const { leaseMs, link, scripts, ledger } = this.#options;
    // No worker could renew its lease while Redis was away.
    if (performance.now() - link.cameBackAt < leaseMs) return;
    for (const { queue, current, ...attempt } of await scripts.unleased()) {
      const known = ledger.find(attempt.id);
      const isOver = !current || known === null || known.attempt > attempt.attempt;
      if (!isOver && ledger.heard(attempt)) continue;
      await this.#end(queue, attempt, isOver);
    }
    const running = [...ledger.running()];
    for (const { id, attempt, worker } of await scripts.missing(running))
      if (!ledger.heard({ id, attempt, worker })) await this.#lose({ id, attempt, worker });
  }

  /** Removes an attempt from Redis, unless its worker has just renewed its lease. */
  async #end(queue: string, attempt: AttemptRef, isOver: boolean): Promise<void> {
    const { queues, scripts } = this.#options;
    if (!(await queues.remove(queue, attempt.id, attempt.attempt))) return;
    if (isOver) await scripts.forget(attempt.id, attempt.attempt);
    else await this.#lose(attempt);
  }

  async #lose(attempt: AttemptRef): Promise<void> {
    const { lost, offer, ledger } = this.#options;
    await lost(attempt);
    // If someone had cancelled the job, this may have ended it.
    const job = ledger.find(attempt.id);
    if (job) await offer({ ...job, attempt: attempt.attempt });
  }

  // ---------------------------------------------------------------- agreement

  /** Offers all that waits in the ledger and not in Redis, and removes what the ledger no longer has. */
  async reconcile(): Promise<void> {
    const { link, keys, leaseMs, scripts, ownership } = this.#options;
    if (!(await ownership.holds())) return;
    const began = performance.now();
    const misses = this.#misses;
    await scripts.hold(this.#paused);
    await this.#offerMissing();
    await this.#removeUnknown();
    await scripts.prune();
    await link.redis.set(keys.agreed, this.#token);
    const took = performance.now() - began;
    if (misses === this.#misses) this.#due = performance.now() + Math.max(leaseMs / 2, took / share);
  }

  async #offerMissing(): Promise<void> {
    const { ledger, scripts, offer } = this.#options;
    for (const piece of inPieces(ledger.waiting())) {
      const missing = await scripts.missing(piece);
      await Promise.all(
        missing.map(async ({ id, attempt }) => {
          const job = ledger.find(id);
          // It may have been taken or ended since.
          if (job?.attempt === attempt) await offer(job);
        }),
      );
    }
  }

  async #removeUnknown(): Promise<void> {
    const { ledger, link, keys, queues, scripts } = this.#options;
    for await (const entries of link.redis.hscanStream(keys.jobs, { count: pieceSize }) as AsyncIterable<
      string[]
    >)
      for (let at = 0; at < entries.length; at += 2) {
        const [id, entry] = [entries[at]!, entries[at + 1]!];
        if (ledger.find(id) !== null) continue;
        const [attempt, queue] = entry.split(" ") as [string, string];
        // A worker that has just ended it holds it for another moment.
        if (await queues.remove(queue, id, Number(attempt))) await scripts.forget(id, Number(attempt));
      }
  }
}

function* inPieces(offers: Iterable<Offer>): Generator<Offer[]> {
  let piece: Offer[] = [];
  for (const offer of offers) {
    piece.push(offer);
    if (piece.length < pieceSize) continue;
    yield piece;
    piece = [];
  }
  if (piece.length > 0) yield piece;
}
