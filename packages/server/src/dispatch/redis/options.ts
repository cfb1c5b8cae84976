import type { Claim, Offer } from "../dispatcher.js";
import type { Bound } from "../order.js";

/** An attempt at a job, without its worker's signal. */
export type AttemptRef = Omit<Claim, "signal">;

/** The ledger's view of jobs. It is authoritative; Redis is made to agree with it. */
export interface LedgerView {
  /** Names the ledger among those of other APIs. */
  readonly id: string;
  /** All jobs that wait. Read in pieces, so that the event loop goes on in between. */
  waiting(): Iterable<Offer>;
  /** All jobs that are being worked on, with the attempt that runs. */
  running(): Iterable<Offer & { readonly worker: string }>;
  /** A job that waits or runs, with its last attempt; null for one that has ended or was deleted. */
  find(id: string): Offer | null;
  /** Whether the API has heard from the worker of an attempt within the lease, other than through Redis. */
  heard(attempt: AttemptRef): boolean;
}

export interface RedisDispatcherOptions {
  /** `redis://` or `rediss://`, with user and password where Redis asks for them. */
  readonly url: string;
  /** What the names of all keys begin with; fleets that share a Redis need different ones. */
  readonly prefix?: string;
  /**
   * Makes this the instance of the API: it looks for lost leases, and offers again what Redis has lost. Instances of
   * workers have none.
   */
  readonly ledger?: LedgerView;
  /** How long a worker may be silent; 30 seconds by default. */
  readonly leaseMs?: number;
  readonly bound?: Bound;
  /** Called with problems of Redis. Messages never contain the password. */
  readonly onProblem?: (message: string, error: unknown) => void;
}
