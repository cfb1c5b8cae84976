import { setTimeout as sleep } from "node:timers/promises";
import { ServiceError, type ServiceErrorCode } from "../errors.js";
import { processHeader, protocolHeader, protocolVersion } from "./protocol.js";

/** The API cannot be reached, or cannot answer now: the same request may succeed later. */
export class ApiAway extends Error {
  override readonly name = "ApiAway";
}

/** The API refuses the worker: its token, its version, or a job that is not its own. */
export class ApiRefusal extends Error {
  override readonly name = "ApiRefusal";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface ApiClientOptions {
  /** The address of the API, such as `https://depth.example.org`. */
  readonly url: string;
  readonly token: string;
  /** A name for this process among those with the same token. */
  readonly process: string;
}

interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT";
  readonly path: string;
  /** JSON, or bytes as they are. */
  readonly body?: object | Uint8Array;
}

/** How long an answer may take, and how much longer for a body, at a rate that a poor line has. */
const answerMs = 15_000;
const bytesPerMs = 50;

/** The pauses between repeats grow from one to the other. */
const firstPauseMs = 200;
const longestPauseMs = 5000;

/** Statuses that the API itself gives for what a repeat cannot help, although they are above 499. */
const finalCodes: readonly string[] = ["disk_full", "damaged_file"];

/** A worker's connection to the API. */
export class ApiClient {
  readonly #options: ApiClientOptions;
  readonly #giveUp = new AbortController();

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  /** Lets requests that are repeated until they succeed fail after this time: the worker stops. */
  giveUpIn(milliseconds: number): void {
    setTimeout(
      () => this.#giveUp.abort(new ApiAway("The API was away when the worker stopped.")),
      milliseconds,
    ).unref();
  }

  /**
   * Asks once.
   * @throws {ApiAway} if a repeat may succeed, {ApiRefusal}, or {ServiceError} for a disk or file of the API.
   */
  async ask<Answer>(request: ApiRequest, signal?: AbortSignal): Promise<Answer> {
    return JSON.parse(Buffer.from((await this.askBytes(request, signal))!).toString()) as Answer;
  }

  /** As {@link ask}, for an answer of bytes. @returns null for one without content. */
  async askBytes({ method, path, body }: ApiRequest, signal?: AbortSignal): Promise<Uint8Array | null> {
    const { url, token, process } = this.#options;
    const isBytes = body instanceof Uint8Array;
    const content = body === undefined || isBytes ? body : JSON.stringify(body);
    const patience = answerMs + Math.ceil((content?.length ?? 0) / bytesPerMs);
    const response = await fetch(`${url}/internal${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        [protocolHeader]: `${protocolVersion}`,
        [processHeader]: process,
        ...(content !== undefined && {
          "content-type": isBytes ? "application/octet-stream" : "application/json",
        }),
      },
      redirect: "error",
      signal: AbortSignal.any([
        AbortSignal.timeout(patience),
        this.#giveUp.signal,
        ...(signal ? [signal] : []),
      ]),
      ...(content !== undefined && { body: content }),
    }).catch((error: Error) => {
      signal?.throwIfAborted();
      throw new ApiAway(`The API cannot be reached: ${reasonOf(error)}.`, { cause: error });
    });
    const bytes = await response.arrayBuffer().catch((error: Error) => {
      signal?.throwIfAborted();
      throw new ApiAway(`The API's answer broke off: ${reasonOf(error)}.`, { cause: error });
    });
    if (!response.ok) throw refusalOf(response.status, Buffer.from(bytes).toString());
    return response.status === 204 ? null : new Uint8Array(bytes);
  }

  /**
   * Repeats a request until it is answered.
   * @param signal ends the wait.
   * @throws as {@link ask}, but {ApiAway} only after {@link giveUpIn}; the signal's reason.
   */
  async untilAnswered<Answer>(ask: () => Promise<Answer>, signal?: AbortSignal): Promise<Answer> {
    for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, longestPauseMs)) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof ApiAway) || this.#giveUp.signal.aborted) throw error;
      }
      signal?.throwIfAborted();
      // Workers that lost the API together do not come back together.
      const wait = pause * (0.5 + Math.random());
      await sleep(wait, undefined, {
        signal: AbortSignal.any([this.#giveUp.signal, ...(signal ? [signal] : [])]),
      }).catch(() => {
        signal?.throwIfAborted();
        throw this.#giveUp.signal.reason;
      });
    }
  }
}

/** Why a request failed; fetch hides it behind "fetch failed". */
const reasonOf = ({ cause, message }: Error): string => (cause instanceof Error ? cause.message : message);

function refusalOf(status: number, text: string): Error {
  const { code, message } = errorIn(text);
  if (code !== null && finalCodes.includes(code)) return new ServiceError(code as ServiceErrorCode, message);
  if (status >= 500 || status === 408 || status === 429)
    return new ApiAway(`The API answered ${status}: ${message}`);
  return new ApiRefusal(code ?? `http_${status}`, message);
}

/** The error object of an answer; a proxy's own has none. */
function errorIn(text: string): { readonly code: string | null; readonly message: string } {
  try {
    const { code, message } = (JSON.parse(text) as { error: { code: string; message: string } }).error;
    return { code, message };
  } catch {
    return { code: null, message: "the answer is not of mflux-depth; is a proxy in between?" };
  }
}
