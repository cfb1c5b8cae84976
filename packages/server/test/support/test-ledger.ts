import { randomUUID } from "node:crypto";
import type { Claim, Offer } from "../../src/dispatch/dispatcher.js";
import type { AttemptRef, LedgerView } from "../../src/dispatch/redis/options.js";

type Entry = Offer & { state: "queued" | "running"; worker: string };

/** A ledger in memory: what a dispatcher of the API asks for, and nothing else. */
export class TestLedger implements LedgerView {
  readonly id = randomUUID();
  readonly #jobs = new Map<string, Entry>();
  /** The workers that the API hears by other ways than Redis. */
  readonly audible = new Set<string>();

  /** A job has arrived, or has another priority. */
  add(offer: Offer): Offer {
    if (this.#jobs.get(offer.id)?.state !== "running")
      this.#jobs.set(offer.id, { ...offer, state: "queued", worker: "" });
    return offer;
  }

  /** A worker has begun an attempt. @returns false if it is out of date. */
  begin({ id, attempt, worker }: Claim): boolean {
    const job = this.#jobs.get(id);
    if (job?.state !== "queued" || attempt <= job.attempt) return false;
    this.#jobs.set(id, { ...job, state: "running", attempt, worker });
    return true;
  }

  /** The attempt goes on later. */
  interrupt({ id, attempt }: Pick<Claim, "id" | "attempt">): void {
    const job = this.#jobs.get(id);
    if (job?.state === "running" && job.attempt === attempt) this.#jobs.set(id, { ...job, state: "queued" });
  }

  /** @returns false if the attempt is not the one that runs. */
  end({ id, attempt }: Pick<Claim, "id" | "attempt">): boolean {
    const job = this.#jobs.get(id);
    if (job?.state !== "running" || job.attempt !== attempt) return false;
    return this.#jobs.delete(id);
  }

  /** Ends a job that waits. */
  cancelQueued(id: string): void {
    if (this.#jobs.get(id)?.state === "queued") this.#jobs.delete(id);
  }

  waiting(): Iterable<Offer> {
    return [...this.#jobs.values()].filter(({ state }) => state === "queued").map(offerOf);
  }

  running(): Iterable<Offer & { readonly worker: string }> {
    return [...this.#jobs.values()].filter(({ state }) => state === "running");
  }

  find(id: string): Offer | null {
    const job = this.#jobs.get(id);
    return job ? offerOf(job) : null;
  }

  heard({ worker }: AttemptRef): boolean {
    return this.audible.has(worker);
  }
}

const offerOf = ({ id, priority, arrival, model, attempt }: Entry): Offer => ({
  id,
  priority,
  arrival,
  model,
  attempt,
});
