/*
 * The protocol between workers on other machines and the API, over HTTP. It is internal to this package: both sides
 * state their version, and refuse another.
 */
import type { EventData } from "../contract/index.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { AttemptEnd, AttemptOutcome, AttemptStart } from "../work/attempt-record.js";

/** Increases with every incompatible change. */
export const protocolVersion = 1;

/** The headers of a worker's requests: the version, and the process, because one token may serve several. */
export const protocolHeader = "x-mflux-depth-protocol";
export const processHeader = "x-mflux-depth-process";

/** The maximum size of a checkpoint in bytes: latents and a depth map of an image of 4096 × 4096 pixels. */
export const checkpointBytes = 96 * 2 ** 20;
/** The maximum size of an artifact in bytes. */
export const artifactBytes = 256 * 2 ** 20;

/** The state of an attempt: `cancelled` if its job should end, `lost` if its reports are dropped. */
export type Standing = "current" | "cancelled" | "lost";

export interface StandingAnswer {
  readonly standing: Standing;
}

/** A worker's heartbeat. */
export interface Heartbeat {
  readonly version: string;
  readonly device: string;
  readonly memory_bytes: number;
  /** The name of the model in memory. */
  readonly model: string | null;
  /** The names of models whose files are on the worker's machine. */
  readonly models: readonly string[];
  readonly attempt: { readonly job: string; readonly attempt: number } | null;
  /** The models examined by the worker, by key: null for those it can run, otherwise a sentence that says why not. */
  readonly verdicts: Readonly<Record<string, string | null>>;
}

export interface HeartbeatAnswer {
  /** The worker's id. */
  readonly worker: string;
  readonly draining: boolean;
  /** The standing of the attempt in the heartbeat; null without one. */
  readonly standing: Standing | null;
  /** The keys of the models of waiting jobs. */
  readonly wanted: readonly string[];
}

export interface BeginAnswer {
  /** Null if the worker should not work on the job. */
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
  /** The number of the first report, counted from 0 in each attempt. Earlier ones are not recorded again. */
  readonly first: number;
  readonly reports: readonly Report[];
}

export interface CandidateBody {
  readonly candidate: ArtifactRecord;
  readonly step: number;
}

/** An answer to a request that names files. */
export interface FilesAnswer extends StandingAnswer {
  /** The hashes of missing files: upload them, then repeat the request. Nothing has been recorded. */
  readonly missing: readonly string[];
}

export interface EndBody {
  readonly outcome: AttemptOutcome;
}

export interface EndAnswer {
  readonly end: AttemptEnd;
  /** As in {@link FilesAnswer}; if files are missing, the attempt has not ended. */
  readonly missing: readonly string[];
}
