import type { JobObject } from "./job.js";

/** The data of an event, by its name. */
export interface EventData {
  readonly queued: { readonly position: number };
  readonly started: { readonly worker: string };
  readonly load: {
    readonly component: string;
    readonly done_bytes: number;
    /** Null if the size is unknown. */
    readonly total_bytes: number | null;
  };
  readonly stage: {
    readonly stage: "text" | "depth" | "control" | "image" | "denoise" | "decode";
    readonly state: "started" | "finished";
  };
  readonly step: {
    readonly step: number;
    readonly steps: number;
    readonly seconds: number;
    readonly remaining_seconds: number;
  };
  readonly preview: { readonly step: number; readonly url: string };
  readonly warning: { readonly message: string };
  readonly resumed: { readonly from_step: number };
  readonly succeeded: { readonly result: JobObject };
  readonly failed: { readonly result: JobObject };
  readonly cancelled: { readonly result: JobObject };
}

export type EventName = keyof EventData;

/** An event of a job, as its stream sends it. */
export type JobEvent = {
  [Name in EventName]: {
    /** Grows within the job, across restarts too. */
    readonly id: number;
    readonly event: Name;
    readonly data: EventData[Name] & { readonly job: string; readonly attempt: number };
  };
}[EventName];

/** The events that end a job's stream. */
export const terminalEvents = ["succeeded", "failed", "cancelled"] as const;

/** The events that a stream never drops. Others may be missing after a reconnection or for a slow reader. */
export const durableEvents: readonly EventName[] = [
  "queued",
  "started",
  "warning",
  "resumed",
  ...terminalEvents,
];

/** Events that are only in the stream of all jobs. */
export interface StreamData {
  readonly updated: { readonly result: JobObject };
  readonly deleted: { readonly job: string };
  readonly queue: { readonly paused: boolean };
}
