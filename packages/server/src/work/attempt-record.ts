import type { ErrorObject, EventData } from "../contract/index.js";
import type { Claim } from "../dispatch/dispatcher.js";
import type { Preview, ProgressName } from "../history/live.js";
import type { Duration } from "../ledger/durations.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { JobRecord } from "../ledger/jobs.js";
import type { Checkpoint } from "./checkpoints.js";

/** A job as an attempt sees it, with the number of the attempt. */
export type AttemptJob = Pick<
  JobRecord,
  "id" | "kind" | "attempt" | "request" | "load" | "model" | "previewEvery" | "seed" | "steps" | "step"
>;

/** An attempt, and the worker that makes it. */
export type AttemptRef = Omit<Claim, "signal">;

/** The starting point of an attempt. */
export interface AttemptStart {
  readonly job: AttemptJob;
  /** The images that earlier attempts finished, in the order of seeds. */
  readonly candidates: readonly ArtifactRecord[];
}

/** A stored file. */
export interface KeptFile {
  /** 64 hexadecimal digits. */
  readonly sha256: string;
  readonly bytes: number;
}

/** How an attempt ended, as its worker sees it. */
export type AttemptOutcome =
  | {
      readonly state: "succeeded";
      readonly step: number;
      readonly artifacts: readonly ArtifactRecord[];
      /** What was measured, for estimates of other jobs. */
      readonly duration?: Duration & { readonly workload: string };
    }
  | { readonly state: "failed"; readonly error: ErrorObject }
  | { readonly state: "cancelled" }
  /** The engine's process ended. */
  | { readonly state: "crashed" }
  /** The worker stops. */
  | { readonly state: "interrupted" };

/**
 * What became of the job: it ended; it waits to be tried again; or it now belongs to another attempt, and nothing was
 * recorded.
 */
export type AttemptEnd = "ended" | "unfinished" | "lost";

/**
 * Where one attempt reads its job and records events. Reports that arrive after another attempt has begun are dropped.
 */
export interface AttemptRecord extends AttemptStart, Disposable {
  /** Aborts when the attempt must stop, with a `ClaimEnd` as its reason. */
  readonly signal: AbortSignal;
  /** Whether the job still belongs to this attempt, as far as is known now. */
  isCurrent(): Promise<boolean>;
  /** The bytes of a picture of the job, or of a candidate. @throws {ServiceError} `damaged_file` */
  picture(sha256: string): Promise<Uint8Array>;
  /** The latest checkpoint of an earlier attempt; null if there is none. */
  latestCheckpoint(): Promise<Checkpoint | null>;
  progressed<Name extends ProgressName>(name: Name, data: EventData[Name]): void;
  previewed(preview: Preview): void;
  /** The attempt continues from a step of an earlier one. */
  resumed(step: number): void;
  /** The attempt starts at the first step, because there is no matching checkpoint. */
  beganAnew(): void;
  warned(message: string): void;
  modelLoaded(seconds: number): void;
  /** Saves a checkpoint, so that a later attempt can continue there. @throws if it could not be saved. */
  saveCheckpoint(checkpoint: Checkpoint): Promise<void>;
  /**
   * Stores a file before {@link candidateMade} or the outcome names it. It is kept at least until the attempt ends.
   * @throws {ServiceError} `disk_full`
   */
  keep(bytes: Uint8Array): Promise<KeptFile>;
  /**
   * One of several images has been stored: a later attempt continues after it. @param step the last step of this image.
   */
  candidateMade(candidate: ArtifactRecord, step: number): Promise<void>;
  /** Ends the attempt. */
  end(outcome: AttemptOutcome): Promise<AttemptEnd>;
  /** Releases stored files. */
  [Symbol.dispose](): void;
}

/** Where a worker's attempts are recorded. */
export interface AttemptRecords {
  /** Begins an attempt. @returns null if the job was cancelled or deleted. */
  begin(attempt: AttemptRef): Promise<AttemptRecord | null>;
  /** Records the end of an attempt after recording it has failed. */
  recover(attempt: AttemptRef): Promise<void>;
}
