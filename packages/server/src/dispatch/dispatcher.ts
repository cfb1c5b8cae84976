/** A job that may be worked on. */
export interface Offer {
  readonly id: string;
  /** Higher ones start first. */
  readonly priority: number;
  /** Jobs of one priority start in this order. */
  readonly arrival: number;
  /** Equal for jobs that can share a loaded model. */
  readonly model: string;
  /** The number of the last attempt, 0 before the first. The next claim has a higher one. */
  readonly attempt: number;
}

/** Why a worker must stop working on a job. */
export type ClaimEnd =
  /** Someone cancelled it. */
  | "cancelled"
  /** The lease expired, or another worker has the job. Whatever the worker still sends is dropped. */
  | "lost";

/** The right of one worker to work on a job until its lease expires. */
export interface Claim {
  readonly id: string;
  /** Grows with each claim of a job, so that records of an older one can be told apart and dropped. */
  readonly attempt: number;
  readonly worker: string;
  /** Aborts when the worker must stop, with a {@link ClaimEnd} as its reason. */
  readonly signal: AbortSignal;
}

export interface ClaimRequest {
  readonly worker: string;
  /** The model that the worker has in memory; its jobs may go first. */
  readonly model: string | null;
  /** Whether the worker can run jobs for a model; all of them by default. Asked again whenever a job may be taken. */
  readonly accepts?: (model: string) => boolean;
  /** Ends the wait for a job. */
  readonly signal: AbortSignal;
}

/**
 * Says who may work on what. It records nothing: the ledger does, and offers all unfinished jobs again after a restart.
 *
 * Jobs start in order of priority, then of arrival, except that jobs for a worker's model may overtake others of their
 * priority within a bound.
 */
export interface Dispatcher {
  /** Offers a job, or changes the priority of one that waits. A job that is claimed stays so. */
  offer(offer: Offer): Promise<void>;
  /**
   * Waits for a job, and leases it.
   * @throws the signal's reason.
   */
  claim(request: ClaimRequest): Promise<Claim>;
  /** Extends a lease. @returns false if it is lost, or if the dispatcher cannot be reached now. */
  renew(claim: Claim): Promise<boolean>;
  /** Reports that the job has ended. @returns false if the lease is lost. */
  finish(claim: Claim): Promise<boolean>;
  /** The worker stops, but the job does not: it waits again at its old place. @returns false if the lease is lost. */
  giveBack(claim: Claim): Promise<boolean>;
  /** @returns "removed" for a job that waited, "claimed" if its worker has been told, "unknown" for others. */
  cancel(id: string): Promise<"removed" | "claimed" | "unknown">;
  /** Stops starting jobs. Claimed ones continue. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Called when a lease has expired. The job waits again. @returns a function that ends the subscription. */
  onLost(listener: (claim: Claim) => void): () => void;
  /** Ends all waits and leases of this process. */
  close(): Promise<void>;
}
