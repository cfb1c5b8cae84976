import type { ReadableStreamReadResult } from "node:stream/web";
import { type Patience, Transient } from "./retry.js";
import { type WaitListener, WaitReport } from "./waiting.js";

export interface RequestOptions {
  readonly signal: AbortSignal | undefined;
  readonly patience: Patience;
  readonly onWait: WaitListener | undefined;
  /** Whether the answer is a file, which may take any time as long as its bytes keep coming. */
  readonly file: boolean;
}

/** A file that arrives more slowly than this would never finish: a gigabyte would take ten days. */
const leastBytesPerSecond = 1000;

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

/** The maximum number of bytes of a redirect's body to read so that its connection can be reused. */
const mostSkippedBytes = 2 ** 16;

/** A request, redirects included, that is aborted by its owner's signal or when nothing arrives for too long. */
export class WatchedRequest {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #deadline: NodeJS.Timeout | undefined;
  readonly #owner: AbortSignal | undefined;
  readonly #report: WaitReport;
  #server = "";
  readonly #isFile: boolean;
  #answered = false;
  readonly #slowMs: number;
  /** Checks how fast a file arrives. */
  #pace: NodeJS.Timeout | undefined;
  /** Bytes since the last check. */
  #arrived = 0;
  // Not AbortSignal.any: Node 20 may garbage-collect its signal, and the request would never end.
  readonly #forward = (): void => this.#controller.abort(this.#owner?.reason);

  constructor({ signal: owner, patience, onWait, file }: RequestOptions) {
    const { stallMs, answerMs, slowMs, reportMs } = patience;
    this.#slowMs = slowMs;
    this.#owner = owner;
    this.#isFile = file;
    if (owner?.aborted) this.#forward();
    owner?.addEventListener("abort", this.#forward, { once: true });
    this.#timer = setTimeout(
      () =>
        this.#controller.abort(
          this.#answered
            ? new Transient(`no data for ${seconds(stallMs)}`)
            : new Transient(
                `${this.#server} accepts connections but has not answered for ${seconds(stallMs)}`,
                {
                  silent: true,
                },
              ),
        ),
      stallMs,
    );
    if (!file)
      this.#deadline = setTimeout(
        () =>
          this.#controller.abort(
            new Transient(`the answer of ${this.#server} was not complete after ${seconds(answerMs)}`, {
              silent: true,
            }),
          ),
        answerMs,
      );
    this.#report = new WaitReport("an answer", onWait, reportMs);
  }

  /** Records that a server is asked: the first one, or one that it redirects to. */
  asks(server: string): void {
    this.#server = server;
    this.#answered = false;
    this.#timer.refresh();
    this.#report.restart(`an answer from ${server}`);
  }

  /** Records that the server has begun to answer. */
  answered(): void {
    this.#answered = true;
    this.#timer.refresh();
    if (!this.#isFile) return;
    this.#report.restart(`more data from ${this.#server}`);
    this.#watchPace();
  }

  /** Pass this to `fetch`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The body of the last response; the request ends with it. */
  async *chunks(response: Response): AsyncGenerator<Uint8Array, void> {
    try {
      yield* this.#read(response);
    } finally {
      this.end();
    }
  }

  /** Reads a redirect's body to its end, so that its connection can be reused; drops a long one. */
  async skip(response: Response): Promise<void> {
    await this.text(response, mostSkippedBytes);
  }

  /** Reads the beginning of a body, up to about `most` bytes. */
  async text(response: Response, most: number): Promise<string> {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of this.#read(response)) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= most) break;
    }
    return Buffer.concat(chunks).toString("utf8", 0, most);
  }

  async *#read({ body }: Response): AsyncGenerator<Uint8Array, void> {
    const reader = body?.getReader();
    // Node's fetch does not always pass an abort on to the body, which may stay silent forever if the request is
    // aborted while the body is being opened.
    let giveUp = (): void => {};
    const abort = (): void => giveUp();
    this.signal.addEventListener("abort", abort);
    const read = (): Promise<ReadableStreamReadResult<Uint8Array>> =>
      new Promise((resolve, reject) => {
        giveUp = () => reject(this.signal.reason);
        if (this.signal.aborted || !reader) giveUp();
        else reader.read().then(resolve, reject);
      });
    try {
      for (let chunk = reader && (await read()); chunk && !chunk.done; chunk = await read()) {
        this.#timer.refresh();
        this.#arrived += chunk.value.byteLength;
        if (this.#isFile) this.#report.restart();
        yield chunk.value;
      }
    } catch (error) {
      throw this.explain(error);
    } finally {
      this.signal.removeEventListener("abort", abort);
      // Do not await: a broken connection may never answer.
      reader?.cancel().catch(() => {});
    }
  }

  /** Aborts a file that arrives too slowly. */
  #watchPace(): void {
    const ms = this.#slowMs;
    clearInterval(this.#pace);
    this.#arrived = 0;
    this.#pace = setInterval(() => {
      if (this.#arrived < (ms / 1000) * leastBytesPerSecond)
        this.#controller.abort(
          new Transient(`only ${this.#arrived} bytes arrived in ${seconds(ms)}`, { slow: true }),
        );
      this.#arrived = 0;
    }, ms);
  }

  /** Turns an error of `fetch` into its cause: the owner's reason, or {@link Transient} for a failed connection. */
  explain(error: unknown): unknown {
    if (this.#owner?.aborted) return this.#owner.reason;
    if (error instanceof Transient) return error;
    if (!(error instanceof TypeError)) return error;
    const cause = error.cause as (Error & { code?: string }) | undefined;
    const unreachable = /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH)$/.test(
      cause?.code ?? "",
    );
    return new Transient(cause?.code ?? cause?.message ?? error.message, { cause: error, unreachable });
  }

  /** Releases the timer and the owner's signal. */
  end(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
    clearInterval(this.#pace);
    this.#report[Symbol.dispose]();
    this.#owner?.removeEventListener("abort", this.#forward);
  }
}
