import type { EventData, JobEvent, StreamData } from "../contract/index.js";

/** An event of any job, or about the queue, as the stream of all jobs has it. */
export type StreamEvent =
  | {
      [Name in keyof EventData]: {
        readonly id: number;
        readonly event: Name;
        readonly data: EventData[Name] & {
          readonly job: string;
          readonly attempt: number;
          /** The id within the job. */
          readonly event_id: number;
        };
      };
    }[keyof EventData]
  | {
      [Name in keyof StreamData]: {
        readonly id: number;
        readonly event: Name;
        readonly data: StreamData[Name];
      };
    }[keyof StreamData];

/** An event of a job, as the stream of all jobs has it. */
export const forAll = (event: JobEvent): StreamEvent =>
  ({ ...event, data: { ...event.data, event_id: event.id } }) as StreamEvent;
