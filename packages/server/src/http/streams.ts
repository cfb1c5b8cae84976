/* The open event streams: counted, limited, and closed when the server stops. */
import type { FastifyReply } from "fastify";
import { HttpError } from "./error.js";
import { EventStream, type EventStreamOptions } from "./event-stream.js";
import type { Metrics } from "./metrics.js";

/** More than any page and its programs need; each stream holds a connection. */
const maxStreams = 1000;

export class Streams {
  readonly #metrics: Metrics;
  #open = 0;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /**
   * Answers with a stream.
   * @throws {HttpError} 503 if too many are open.
   */
  open(reply: FastifyReply, options: Pick<EventStreamOptions, "isReplaceable"> = {}): EventStream {
    if (this.#open >= maxStreams)
      throw new HttpError(503, "too_many_streams", "Too many event streams are open.", {
        headers: { "retry-after": "5" },
      });
    reply.hijack();
    this.#open++;
    this.#metrics.sseClients.inc();
    reply.raw.on("close", () => {
      this.#open--;
      this.#metrics.sseClients.dec();
    });
    const headers = Object.fromEntries(
      Object.entries(reply.getHeaders())
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => [name, String(value)]),
    );
    return new EventStream(reply.raw, { headers, ...options });
  }
}
