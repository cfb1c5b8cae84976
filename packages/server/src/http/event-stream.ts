/*
 * Server-sent events over one response.
 */
import type { ServerResponse } from "node:http";

export interface StreamedEvent {
  readonly id?: number;
  readonly event: string;
  readonly data: unknown;
}

export interface EventStreamOptions {
  /** Whether an event may be dropped when a later one of its kind replaces it. */
  readonly isReplaceable?: (event: StreamedEvent) => boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** The most events that wait for a slow reader. */
  readonly maxWaiting?: number;
  /** Time from one comment to the next. */
  readonly commentMs?: number;
}

/** Proxies close silent connections; a comment keeps them open, and shows whether the reader is still connected. */
const defaultCommentMs = 15_000;

/**
 * Writes events as fast as their reader takes them. Waiting events stay in order; a replaceable one is dropped when a
 * later one of its kind arrives. A reader that is too slow is disconnected, and can resume by the id.
 */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #isReplaceable: (event: StreamedEvent) => boolean;
  readonly #maxWaiting: number;
  readonly #comments: NodeJS.Timeout;
  #waiting: StreamedEvent[] = [];
  #blocked = false;
  #ending = false;

  /** Sends the headers. */
  constructor(response: ServerResponse, options: EventStreamOptions = {}) {
    const {
      isReplaceable = () => false,
      headers = {},
      maxWaiting = 10_000,
      commentMs = defaultCommentMs,
    } = options;
    this.#response = response;
    this.#isReplaceable = isReplaceable;
    this.#maxWaiting = maxWaiting;
    response.writeHead(200, {
      ...headers,
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      // Nginx would buffer events.
      "x-accel-buffering": "no",
    });
    response.flushHeaders();
    response.on("drain", () => {
      this.#blocked = false;
      this.#flush();
    });
    this.#comments = setInterval(() => {
      if (!this.#blocked) this.#write(":\n\n");
    }, commentMs);
    response.on("close", () => clearInterval(this.#comments));
  }

  send(event: StreamedEvent): void {
    if (this.ended) return;
    if (this.#blocked && this.#isReplaceable(event))
      this.#waiting = this.#waiting.filter((one) => one.event !== event.event);
    this.#waiting.push(event);
    if (!this.#blocked) this.#flush();
    else if (this.#waiting.length > this.#maxWaiting) this.#response.destroy();
  }

  /** Resolves once the reader has taken the waiting events or has disconnected. */
  async drained(): Promise<void> {
    while (this.#blocked && !this.#response.destroyed)
      await new Promise<void>((resolve) => {
        const go = (): void => {
          this.#response.off("drain", go).off("close", go);
          resolve();
        };
        this.#response.on("drain", go).on("close", go);
      });
  }

  /** Whether the stream is closed for writing. */
  get ended(): boolean {
    return this.#ending || this.#response.destroyed;
  }

  /** Ends the response after the events that wait. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    clearInterval(this.#comments);
    if (!this.#blocked) this.#flush();
  }

  #flush(): void {
    while (!this.#blocked) {
      const event = this.#waiting.shift();
      if (event === undefined) break;
      this.#write(textOf(event));
    }
    if (this.#ending && this.#waiting.length === 0) this.#response.end();
  }

  #write(text: string): void {
    if (!this.#response.write(text)) this.#blocked = true;
  }
}

/** An event in the format of HTML's EventSource. JSON has no line breaks. */
const textOf = ({ id, event, data }: StreamedEvent): string =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
