import type { Claim, ClaimEnd, ClaimRequest, Dispatcher, Offer } from "./dispatcher.js";
import { type Bound, byTurn, choose, usualBound, type Waiting } from "./order.js";

export interface LocalDispatcherOptions {
  /** How long a worker may be silent; 30 seconds by default. */
  readonly leaseMs?: number;
  readonly bound?: Bound;
  /** A monotonic clock in milliseconds. */
  readonly now?: () => number;
}

interface Lease {
  readonly offer: Offer;
  readonly claim: Claim;
  readonly end: AbortController;
  timer: NodeJS.Timeout;
}

interface Waiter {
  readonly request: ClaimRequest;
  readonly resolve: (claim: Claim) => void;
}

/** The dispatcher for workers in this process. */
export class LocalDispatcher implements Dispatcher {
  readonly #leaseMs: number;
  readonly #bound: Bound;
  readonly #now: () => number;
  readonly #waiting = new Map<string, Waiting>();
  readonly #leases = new Map<string, Lease>();
  /** Workers that wait for a job, the longest first. */
  readonly #waiters = new Set<Waiter>();
  readonly #lostListeners = new Set<(claim: Claim) => void>();
  readonly #closing = new AbortController();
  #paused = false;

  constructor({
    leaseMs = 30_000,
    bound = usualBound,
    now = () => performance.now(),
  }: LocalDispatcherOptions = {}) {
    this.#leaseMs = leaseMs;
    this.#bound = bound;
    this.#now = now;
  }

  async offer(offer: Offer): Promise<void> {
    if (this.#leases.has(offer.id)) return;
    const { overtaken = 0, overtakenSince = null } = this.#waiting.get(offer.id) ?? {};
    this.#waiting.set(offer.id, { ...offer, overtaken, overtakenSince });
    this.#match();
  }

  async claim(request: ClaimRequest): Promise<Claim> {
    const signal = AbortSignal.any([request.signal, this.#closing.signal]);
    signal.throwIfAborted();
    return await new Promise((resolve, reject) => {
      const waiter: Waiter = {
        request,
        resolve: (claim) => {
          signal.removeEventListener("abort", stop);
          resolve(claim);
        },
      };
      const stop = (): void => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
      };
      signal.addEventListener("abort", stop, { once: true });
      this.#waiters.add(waiter);
      this.#match();
    });
  }

  async renew(claim: Claim): Promise<boolean> {
    const lease = this.#leaseOf(claim);
    lease?.timer.refresh();
    return lease !== null;
  }

  async finish(claim: Claim): Promise<boolean> {
    return this.#release(claim) !== null;
  }

  async giveBack(claim: Claim): Promise<boolean> {
    const lease = this.#release(claim);
    if (lease) await this.offer({ ...lease.offer, attempt: claim.attempt });
    return lease !== null;
  }

  async cancel(id: string): Promise<"removed" | "claimed" | "unknown"> {
    if (this.#waiting.delete(id)) return "removed";
    const lease = this.#leases.get(id);
    if (!lease) return "unknown";
    lease.end.abort("cancelled" satisfies ClaimEnd);
    return "claimed";
  }

  async pause(): Promise<void> {
    this.#paused = true;
  }

  async resume(): Promise<void> {
    this.#paused = false;
    this.#match();
  }

  onLost(listener: (claim: Claim) => void): () => void {
    this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("The dispatcher was closed."));
    for (const { timer, end } of this.#leases.values()) {
      clearTimeout(timer);
      end.abort("lost" satisfies ClaimEnd);
    }
    this.#leases.clear();
    this.#waiting.clear();
  }

  /** Gives jobs to the workers that wait. */
  #match(): void {
    for (const waiter of this.#waiters) {
      if (this.#paused || this.#waiting.size === 0) return;
      const { worker, model, accepts = () => true } = waiter.request;
      const queue = [...this.#waiting.values()].filter((job) => accepts(job.model)).sort(byTurn);
      const now = this.#now();
      const choice = choose(queue, model, { now, bound: this.#bound });
      if (!choice) continue;
      for (const job of choice.overtaken)
        this.#waiting.set(job.id, {
          ...job,
          overtaken: job.overtaken + 1,
          overtakenSince: job.overtakenSince ?? now,
        });
      this.#waiters.delete(waiter);
      waiter.resolve(this.#lease(choice.chosen, worker));
    }
  }

  #lease(offer: Offer, worker: string): Claim {
    this.#waiting.delete(offer.id);
    const end = new AbortController();
    const claim = { id: offer.id, attempt: offer.attempt + 1, worker, signal: end.signal };
    const timer = setTimeout(() => this.#expire(claim), this.#leaseMs);
    // A lease alone must not keep the process alive.
    timer.unref();
    this.#leases.set(offer.id, { offer, claim, end, timer });
    return claim;
  }

  #expire(claim: Claim): void {
    const lease = this.#release(claim);
    if (!lease) return;
    lease.end.abort("lost" satisfies ClaimEnd);
    for (const listener of this.#lostListeners) listener(claim);
    void this.offer({ ...lease.offer, attempt: claim.attempt });
  }

  #leaseOf({ id, attempt }: Claim): Lease | null {
    const lease = this.#leases.get(id);
    return lease?.claim.attempt === attempt ? lease : null;
  }

  #release(claim: Claim): Lease | null {
    const lease = this.#leaseOf(claim);
    if (!lease) return null;
    clearTimeout(lease.timer);
    this.#leases.delete(claim.id);
    return lease;
  }
}
