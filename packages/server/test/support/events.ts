/*
 * Reads server-sent events, as browsers do.
 */
import type { JobObject } from "../../src/contract/index.js";
import type { TestServer } from "./server.js";

export interface ReceivedEvent {
  readonly id: number;
  readonly event: string;
  readonly data: Record<string, unknown> & { readonly job: string };
}

/** Reads the events of an answer until it ends. */
export async function* eventsOf(response: Response): AsyncGenerator<ReceivedEvent> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const fields = new Map(
        text
          .slice(0, end)
          .split("\n")
          .map(
            (line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()] as const,
          ),
      );
      text = text.slice(end + 2);
      if (!fields.has("event")) continue;
      yield {
        id: Number(fields.get("id") ?? Number.NaN),
        event: fields.get("event")!,
        data: JSON.parse(fields.get("data")!),
      };
    }
  }
}

/** All events of a job, read until its stream ends. */
export async function allEvents(
  server: TestServer,
  path: string,
  headers: Record<string, string> = {},
): Promise<ReceivedEvent[]> {
  const events: ReceivedEvent[] = [];
  for await (const event of eventsOf(await server.fetch(path, { headers }))) events.push(event);
  return events;
}

/**
 * Follows a job until it ends, or fails after four minutes. Asking again and again would keep the server busy.
 * @returns the job as it ended.
 */
export async function ended(server: Pick<TestServer, "fetch">, id: string): Promise<JobObject> {
  const signal = AbortSignal.timeout(240_000);
  const response = await server.fetch(`/v1/jobs/${id}/events?after=0`, { signal });
  let job: JobObject | undefined;
  for await (const { data } of eventsOf(response)) job = (data.result as JobObject | undefined) ?? job;
  if (!job) throw new Error(`the events of the job ${id} have ended without a result`);
  return job;
}
