import type { JobObject } from "./job.js";

/** A picture that was uploaded. */
export interface BlobObject {
  /** `sha256-` and 64 hexadecimal digits. */
  readonly id: string;
  readonly mime: string;
  readonly width: number;
  readonly height: number;
  readonly bytes: number;
}

/** A page of jobs, newest first. */
export interface JobPage {
  readonly data: readonly JobObject[];
  readonly next_cursor: string | null;
}

export interface QueueObject {
  readonly paused: boolean;
  readonly queued: number;
  readonly running: number;
}

export const workerStates = ["idle", "busy", "draining", "lost"] as const;

export interface WorkerObject {
  readonly id: string;
  readonly state: (typeof workerStates)[number];
  /** The model in memory. */
  readonly model: string | null;
  /** The job in progress. */
  readonly job: string | null;
  readonly device: string;
  readonly memory_bytes: number;
  readonly last_seen: string;
}

export interface ModelObject {
  readonly id: string;
  readonly object: "model";
  /** Seconds since 1970, as in OpenAI's interface. */
  readonly created: number;
  readonly owned_by: string;
  /** Whether all its files are on this machine, or on a worker's. */
  readonly ready: boolean;
  readonly bytes: number | null;
  readonly loaded: boolean;
  /** Whether it is a LoRA, for `loras` instead of `model`. */
  readonly lora: boolean;
  /** LoRAs in the model's own folder. Their scales come first in a request's `lora_scales`, in this order. */
  readonly saved_loras: readonly { readonly name: string; readonly scale: number }[];
}

/** A depth estimator that the library knows. */
export interface EstimatorObject {
  readonly id: string;
  /** The licence of the weights, in a few words. */
  readonly licence: string;
  /** The size of the weights in memory. */
  readonly memory_bytes: number;
  /** The duration of an estimate on two CPU cores; null if it has not been measured. */
  readonly cpu_seconds: number | null;
  /** Whether all its files are on this machine. */
  readonly ready: boolean;
  /** Whether requests may name it. */
  readonly offered: boolean;
}

/** What a job needs, and alternatives if it does not fit. */
export interface PlanObject {
  readonly fits: boolean;
  readonly peak_bytes: number;
  readonly available_bytes: number;
  readonly stages: readonly {
    readonly stage: string;
    readonly weights_bytes: number;
    readonly working_bytes: number;
  }[];
  /** Null until this server has measured a step of this size. */
  readonly estimated_seconds: number | null;
  readonly alternatives: readonly { readonly changes: JobChanges; readonly peak_bytes: number }[];
  readonly notes: readonly string[];
}

/** Options of a job that would make it fit. */
export interface JobChanges {
  readonly request?: Readonly<Record<string, number>>;
  readonly load?: Readonly<Record<string, number | string>>;
}

export interface CapabilitiesObject {
  readonly version: string;
  readonly kinds: { readonly generate: object; readonly depth: object };
  readonly load: object;
  /** The model and other loading options of jobs that name none. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** The choices for `depth_model`. */
  readonly estimators: readonly EstimatorObject[];
  readonly device: string;
  readonly memory: { readonly total_bytes: number; readonly available_bytes: number };
  readonly limits: {
    readonly picture_bytes: number;
    readonly picture_pixels: number;
    readonly prompt_characters: number;
    readonly json_bytes: number;
    readonly file_parts: number;
    readonly queued_jobs: number;
  };
}
