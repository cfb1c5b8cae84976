import { setTimeout as sleep } from "node:timers/promises";
import { certificateProblem } from "../certificates.js";
import { ServiceError, type ServiceErrorCode } from "../errors.js";
import { processHeader, protocolHeader, protocolVersion } from "./protocol.js";

/** The API is unreachable or cannot answer now: the same request may succeed later. */
export class ApiAway extends Error {
  override readonly name = "ApiAway";
}

/** The API refuses the worker: its token, its version, or a job that belongs to another worker. */
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
  /** JSON, or raw bytes. */
  readonly body?: object | Uint8Array;
}

/** The timeout of an answer, and the slowest acceptable rate of a body, which extends it. */
const answerMs = 15_000;
const bytesPerMs = 50;

/** The pauses between repeats grow from one to the other. */
const firstPauseMs = 200;
const longestPauseMs = 5000;

/** Codes with a status above 499 for which the API knows that a retry is useless. */
const finalCodes: readonly string[] = ["disk_full", "damaged_file"];

/** A worker's connection to the API. */
export class ApiClient {
  readonly #options: ApiClientOptions;
  /** The requests in progress, which end when the worker stops. */
  readonly #inProgress = new Set<AbortController>();
  #hasGivenUp = false;

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  /** Limits how long requests are repeated, because the worker stops. */
  giveUpIn(milliseconds: number): void {
    const giveUp = (): void => {
      this.#hasGivenUp = true;
      for (const controller of this.#inProgress) controller.abort();
    };
    setTimeout(giveUp, milliseconds).unref();
  }

  /**
   * Asks once.
   * @throws {ApiAway} if a repeat may succeed, {ApiRefusal}, or {ServiceError} for a disk or file of the API; the
   *   signal's reason.
   */
  async ask<Answer>(request: ApiRequest, signal?: AbortSignal): Promise<Answer> {
    return JSON.parse(Buffer.from((await this.askBytes(request, signal))!).toString()) as Answer;
  }

  /** As {@link ask}, for an answer of bytes. @returns null for one without content. */
  async askBytes(request: ApiRequest, signal?: AbortSignal): Promise<Uint8Array | null> {
    const { status, bytes } = await this.#during(signal, patienceFor(request), async (ended) => {
      const response = await fetch(...this.#fetchOf(request, ended));
      return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) };
    });
    if (status >= 300) throw refusalOf(status, Buffer.from(bytes).toString());
    return status === 204 ? null : bytes;
  }

  /**
   * Repeats a request until it is answered.
   * @param signal ends the wait.
   * @throws as {@link ask}, but {ApiAway} only after {@link giveUpIn}.
   */
  async untilAnswered<Answer>(ask: () => Promise<Answer>, signal?: AbortSignal): Promise<Answer> {
    for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, longestPauseMs)) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof ApiAway) || this.#hasGivenUp) throw error;
      }
      // Randomized, so that workers that lost the API together do not return together.
      const wait = pause * (0.5 + Math.random());
      await this.#during(signal, 2 * wait, (ended) => sleep(wait, undefined, { signal: ended }));
    }
  }

  #fetchOf({ method, path, body }: ApiRequest, signal: AbortSignal): Parameters<typeof fetch> {
    const { url, token, process } = this.#options;
    const headers: Record<string, string> = {
      authorization: `Bearer ${token}`,
      [protocolHeader]: `${protocolVersion}`,
      [processHeader]: process,
    };
    const init = { method, headers, redirect: "error", signal } as const;
    if (body === undefined) return [`${url}/internal${path}`, init];
    const isBytes = body instanceof Uint8Array;
    headers["content-type"] = isBytes ? "application/octet-stream" : "application/json";
    return [`${url}/internal${path}`, { ...init, body: isBytes ? body : JSON.stringify(body) }];
  }

  /**
   * Does some work that ends with a signal, after a time, or when the worker stops.
   * @throws the signal's reason; {ApiAway} for every other failure.
   */
  async #during<T>(
    signal: AbortSignal | undefined,
    milliseconds: number,
    work: (ended: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    if (this.#hasGivenUp) throw new ApiAway("The API was away when the worker stopped.");
    // Not AbortSignal.any: what depends on a long-lived signal is kept in memory as long as the signal.
    const controller = new AbortController();
    const end = (): void => controller.abort();
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
    this.#inProgress.add(controller);
    try {
      return await work(controller.signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (this.#hasGivenUp) throw new ApiAway("The API was away when the worker stopped.");
      throw new ApiAway(`The API cannot be reached: ${reasonOf(error as Error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      this.#inProgress.delete(controller);
    }
  }
}

/** How long an answer to a request may take. */
const patienceFor = ({ body }: ApiRequest): number =>
  answerMs + (body instanceof Uint8Array ? Math.ceil(body.byteLength / bytesPerMs) : 0);

/** Why a request failed; fetch hides it behind "fetch failed". */
const reasonOf = ({ cause, message }: Error): string =>
  cause instanceof Error ? (certificateProblem(cause) ?? cause.message) : message;

function refusalOf(status: number, text: string): Error {
  const { code, message } = errorIn(text);
  if (code !== null && finalCodes.includes(code)) return new ServiceError(code as ServiceErrorCode, message);
  if (status >= 500 || status === 408 || status === 429)
    return new ApiAway(`The API answered ${status}: ${message}`);
  return new ApiRefusal(code ?? `http_${status}`, message);
}

/** The error object of an answer; `code` is null in a proxy's own answer. */
function errorIn(text: string): { readonly code: string | null; readonly message: string } {
  try {
    const { code, message } = (JSON.parse(text) as { error: { code: string; message: string } }).error;
    return { code, message };
  } catch {
    return {
      code: null,
      message: "the answer did not come from mflux-depth; check whether a proxy is in between",
    };
  }
}
