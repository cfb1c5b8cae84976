/*
 * Reads server-sent events, as browsers do.
 */
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
