import type { ReadableStreamReadResult } from "node:stream/web";
import { Transient } from "./retry.js";

/** A request, redirects included, that is aborted by its owner's signal or when nothing arrives for too long. */
export class WatchedRequest {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #owner: AbortSignal | undefined;
  // Not AbortSignal.any: Node 20 may collect its signal as garbage, and the request would never end.
  readonly #forward = (): void => this.#controller.abort(this.#owner?.reason);

  constructor(owner: AbortSignal | undefined, stallMs: number) {
    this.#owner = owner;
    if (owner?.aborted) this.#forward();
    owner?.addEventListener("abort", this.#forward, { once: true });
    this.#timer = setTimeout(
      () => this.#controller.abort(new Transient(`no data for ${Math.round(stallMs / 1000)} s`)),
      stallMs,
    );
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

  /** Reads the body of a redirect to its end, so that its connection can be used again. */
  async skip(response: Response): Promise<void> {
    for await (const _ of this.#read(response));
  }

  async *#read({ body }: Response): AsyncGenerator<Uint8Array, void> {
    const reader = body?.getReader();
    // Node's fetch does not always tell the body about an abort: it may stay silent forever if the request is aborted
    // while the body is being opened.
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
    this.#owner?.removeEventListener("abort", this.#forward);
  }
}
