import type { LoadOptions } from "mflux-depth/options";

/** A model that requests may name. */
export interface AllowedModel {
  /** The only name that clients see. */
  readonly name: string;
  /** A folder with the model; without one, `name` is a repository in the cache. */
  readonly folder?: string | undefined;
}

/** Something worth measuring, as it happens. */
export type Measurement =
  | { readonly name: "queue_wait"; readonly seconds: number }
  | { readonly name: "model_load"; readonly seconds: number }
  | { readonly name: "step"; readonly seconds: number }
  | {
      readonly name: "job";
      readonly outcome: "succeeded" | "failed" | "cancelled";
      readonly seconds: number;
    };

/** How a service is set up. */
export interface ServiceOptions {
  /** The data folder; made where it is missing. */
  readonly folder: string;
  /** Loading options for jobs that leave them out, and those that no request can set (device, threads, memory …). */
  readonly load?: LoadOptions;
  /** Models that requests may name in addition to the default one and the bundled one. */
  readonly allowedModels?: readonly AllowedModel[];
  /** The most jobs that wait; 1000 by default. */
  readonly maxQueue?: number;
  /** Deletes finished jobs after this many days; never by default. */
  readonly keepDays?: number;
  /** Deletes the oldest finished jobs while files take more than this many GB (10⁹ bytes); never by default. */
  readonly keepGb?: number;
  /** Releases the model after this long without a job; 10 minutes by default. */
  readonly idleMinutes?: number;
  /** The environment of the engine's process; this process's by default. */
  readonly env?: NodeJS.ProcessEnv;
  /** Told what takes how long. */
  readonly onMeasurement?: (measurement: Measurement) => void;
  /** Told about failures that no client sees, such as a retention run that failed. */
  readonly onProblem?: (message: string, error: unknown) => void;
}
