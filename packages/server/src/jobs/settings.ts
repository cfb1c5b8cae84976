import type { LoadOptions } from "mflux-depth/options";
import type { Measurement } from "../history/history.js";
import type { AllowedModel } from "../requests/models.js";

export type { AllowedModel, Measurement };

/** How a service is set up. */
export interface ServiceOptions {
  /** The data folder; created if it is missing. */
  readonly folder: string;
  /**
   * Loading options for jobs that omit them, and those that requests cannot set (device, threads, memory …). The
   * default model is FLUX.1-Depth-dev if it is on this machine, otherwise the bundled one.
   */
  readonly load?: LoadOptions;
  /** Models that requests may name in addition to the default one and the bundled one. */
  readonly allowedModels?: readonly AllowedModel[];
  /** The maximum number of waiting jobs; 1000 by default. */
  readonly maxQueue?: number;
  /** Deletes finished jobs after this many days; never by default. */
  readonly keepDays?: number | undefined;
  /** Deletes the oldest finished jobs while files take more than this many GB (10⁹ bytes); never by default. */
  readonly keepGb?: number | undefined;
  /** Releases the model after this long without a job; 10 minutes by default. */
  readonly idleMinutes?: number;
  /** The address of a Redis, through which workers on other machines get jobs too; none by default. */
  readonly redis?: string | undefined;
  /** Whether this process works on jobs; true by default. */
  readonly works?: boolean;
  /** How long a worker may be silent before its job goes to another; 30 seconds by default. */
  readonly leaseMs?: number | undefined;
  /** The environment of the engine's process; this process's by default. */
  readonly env?: NodeJS.ProcessEnv;
  /** Called with durations. */
  readonly onMeasurement?: (measurement: Measurement) => void;
  /** Called with details of failures that clients do not see in full. */
  readonly onProblem?: (message: string, error: unknown) => void;
}
