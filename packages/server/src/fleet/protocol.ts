/*
 * What workers of other machines and the API say to each other, over HTTP. It is internal to this package: both sides
 * name the version of it that they speak, and refuse another.
 */
import type { EventData } from "../contract/index.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { AttemptEnd, AttemptOutcome, AttemptStart } from "../work/attempt-record.js";

/** Grows with each change that the other side would not understand. */
export const protocolVersion = 1;

/** Headers of each request of a worker: the version, and the process, as one name of a token may have several. */
export const protocolHeader = "x-mflux-depth-protocol";
export const processHeader = "x-mflux-depth-process";

/** The most bytes of a checkpoint: latents and a depth map of an image of 4096 × 4096 pixels. */
export const checkpointBytes = 96 * 2 ** 20;
/** The most bytes of a file that a job made. */
export const artifactBytes = 256 * 2 ** 20;

/** Whether an attempt may go on: `cancelled` if its job is to end, `lost` if whatever it reports is dropped. */
export type Standing = "current" | "cancelled" | "lost";

export interface StandingAnswer {
  readonly standing: Standing;
}

/** A worker's sign of life. */
export interface Heartbeat {
  readonly version: string;
  readonly device: string;
  readonly memory_bytes: number;
  /** The name of the model in memory. */
  readonly model: string | null;
  /** The names of models whose files are on the worker's machine. */
  readonly models: readonly string[];
  readonly attempt: { readonly job: string; readonly attempt: number } | null;
  /** The models, by key, that the worker has looked at: null for those it can run, else a sentence that says why not. */
  readonly verdicts: Readonly<Record<string, string | null>>;
}

export interface HeartbeatAnswer {
  /** The worker's id. */
  readonly worker: string;
  readonly draining: boolean;
  /** Of the attempt in the heartbeat; null without one. */
  readonly standing: Standing | null;
  /** The keys of models that jobs wait for. */
  readonly wanted: readonly string[];
}

export interface BeginAnswer {
  /** Null if the job is not to be worked on. */
  readonly start: AttemptStart | null;
}

/** Something that happened in an attempt. */
export type Report =
  | { readonly type: "load"; readonly data: EventData["load"] }
  | { readonly type: "stage"; readonly data: EventData["stage"] }
  | { readonly type: "step"; readonly data: EventData["step"] }
  | {
      readonly type: "preview";
      readonly step: number;
      readonly mime: string;
      readonly width: number;
      readonly height: number;
      readonly base64: string;
    }
  | { readonly type: "resumed"; readonly step: number }
  | { readonly type: "began_anew" }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "model_loaded"; readonly seconds: number };

/** Reports in order. */
export interface Reports {
  /** The number of the first; they are numbered from 0 in each attempt. Those that came before are not taken again. */
  readonly first: number;
  readonly reports: readonly Report[];
}

export interface CandidateBody {
  readonly candidate: ArtifactRecord;
  readonly step: number;
}

/** An answer to what names files. */
export interface FilesAnswer extends StandingAnswer {
  /** The hashes of those that are not there: hand them over, then repeat. Nothing was recorded. */
  readonly missing: readonly string[];
}

export interface EndBody {
  readonly outcome: AttemptOutcome;
}

export interface EndAnswer {
  readonly end: AttemptEnd;
  /** As in {@link FilesAnswer}; the attempt has not ended then. */
  readonly missing: readonly string[];
}
