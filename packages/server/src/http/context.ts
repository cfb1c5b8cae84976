import type { JobService } from "../jobs/service.js";
import type { AccessSettings } from "./access.js";
import type { Metrics } from "./metrics.js";
import type { Streams } from "./streams.js";

/** What the routes need. */
export interface Context {
  readonly service: JobService;
  readonly access: AccessSettings;
  readonly metrics: Metrics;
  readonly streams: Streams;
  readonly maxQueue: number;
  /** The folder with the studio's built files. */
  readonly studioFolder: string;
  /** Aborted when the server stops: streams end and waiting requests are answered. */
  readonly stopping: AbortSignal;
}
