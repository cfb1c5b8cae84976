/*
 * The Hub's protocol: who we are to it, requests that bear with a bad connection, sentences for what it refuses.
 *
 * Listing is @huggingface/hub's. The bytes of files are not: there (2.17) a download starts over instead of resuming,
 * no hash is checked, any answer to a range is believed, and it reports no bytes and takes no AbortSignal. Files kept
 * in Xet come over the same addresses, through the Hub's bridge.
 */
import type { ReadableStreamReadResult } from "node:stream/web";
import { setTimeout as sleep } from "node:timers/promises";
import { ModelError } from "../errors.js";
import type { HubSettings } from "./settings.js";

/** How long to bear with a bad connection. */
export interface Patience {
  /** Tries after the first without a byte gained. */
  readonly retries: number;
  /** Before the first of them; each later one waits twice as long. */
  readonly delayMs: number;
  /** Without a byte for so long, a connection counts as broken. */
  readonly stallMs: number;
}

const usualPatience: Patience = { retries: 5, delayMs: 500, stallMs: 60_000 };

/** The longest that a server may ask to wait. */
const longestWaitMs = 5 * 60_000;

/** A failure that may pass. */
export class Transient extends Error {
  constructor(
    message: string,
    readonly options: ErrorOptions & {
      /** What the server asks to wait. */
      readonly afterMs?: number | undefined;
      /** No use to wait for long: there is no server. */
      readonly unreachable?: boolean;
    } = {},
  ) {
    super(message, options);
  }
}

/** The repository is no longer what was listed. */
export class Changed extends Error {}

/** A file as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly bytes: number;
  /** Its name among the cache's blobs: the SHA-256 of an LFS file, else git's SHA-1. */
  readonly etag: string;
  readonly lfs: boolean;
}

/** A repository at a commit. */
export interface HubListing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/** Some bytes of a file. */
export interface HubBody {
  /** Where they begin in the file: where was asked for, or 0. */
  readonly start: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** One repository of the Hub. */
export class HubClient {
  readonly settings: HubSettings;
  readonly repository: string;
  readonly #signal: AbortSignal | undefined;
  readonly #patience: Patience;

  constructor(
    settings: HubSettings,
    repository: string,
    options: { signal?: AbortSignal | undefined; patience?: Partial<Patience> | undefined } = {},
  ) {
    this.settings = settings;
    this.repository = repository;
    this.#signal = options.signal;
    this.#patience = { ...usualPatience, ...options.patience };
  }

  /**
   * The commit that a revision stands for, and its files.
   * @throws {ModelError} when the Hub refuses, cannot be reached, or answers nonsense.
   */
  async list(revision: string): Promise<HubListing> {
    const { listFiles, modelInfo } = await import("@huggingface/hub");
    const { endpoint } = this.settings;
    const shared = {
      hubUrl: endpoint,
      fetch: (url: unknown, init?: RequestInit): Promise<Response> =>
        this.persist(() => this.#whole(String(url), init, revision)),
    };
    const info = await modelInfo({
      ...shared,
      name: this.repository,
      revision,
      additionalFields: ["sha"],
    }).catch((error: unknown) => this.#nonsense(error));
    const commit: unknown = info.sha;
    if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit)) return this.#nonsense(null);
    const files = new Map<string, HubFile>();
    try {
      const listed = listFiles({ ...shared, repo: this.repository, revision: commit, recursive: true });
      for await (const { type, path, size, oid, lfs } of listed) {
        if (type !== "file") continue;
        const etag = lfs?.oid ?? oid;
        // These become names of files here.
        if (!/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(etag ?? "") || !Number.isSafeInteger(size) || size < 0)
          return this.#nonsense(null);
        if (/(^|[/\\])\.\.?([/\\]|$)|^[/\\]|[\0\\]/.test(path)) return this.#nonsense(null);
        files.set(path, { path, bytes: lfs?.size ?? size, etag: etag!, lfs: lfs !== undefined });
      }
    } catch (error) {
      this.#nonsense(error);
    }
    return { commit, files };
  }

  /**
   * Opens a file from an offset on. One try: whoever reads it goes on with {@link persist}.
   * @throws {Transient} when the connection or the server fails.
   * @throws {Changed} when the Hub says that the file is another one.
   * @throws {ModelError} when the Hub refuses.
   */
  async open(file: HubFile, commit: string, offset: number): Promise<HubBody> {
    const path = file.path.split("/").map(encodeURIComponent).join("/");
    const origin = new URL(this.settings.endpoint).origin;
    let url = `${this.settings.endpoint}/${this.repository}/resolve/${commit}/${path}`;
    const watch = new Watch(this.#signal, this.#patience.stallMs);
    try {
      // The Hub redirects to where the bytes are; what it knows of the file stands in its own answer.
      for (let hop = 0; hop < 10; hop++) {
        const own = new URL(url).origin === origin;
        const response = await this.#request(url, watch, {
          redirect: "manual",
          headers: {
            // A compressed answer would have other offsets.
            "accept-encoding": "identity",
            ...(offset > 0 && { range: `bytes=${offset}-` }),
          },
        });
        const { status, headers } = response;
        if (own) this.#compare(response, file);
        const location = status >= 300 && status < 400 ? headers.get("location") : null;
        if (location !== null) {
          for await (const _ of watch.parts(response));
          url = new URL(location, url).href;
          continue;
        }
        if (status === 416) throw new Changed(`${file.path} is shorter than it was`);
        if (!response.ok) await this.#refuse(response, { own, file: file.path, revision: commit });
        const start =
          status === 206 ? Number(/^bytes (\d+)-/.exec(headers.get("content-range") ?? "")?.[1]) : 0;
        if (start !== 0 && start !== offset) throw new Transient("the server sent another part of the file");
        return { start, chunks: watch.chunks(response) };
      }
      throw new Transient("the server redirects in a circle");
    } catch (error) {
      watch.end();
      throw error;
    }
  }

  /**
   * Tries until it works, in growing intervals, or for as long as the server asks.
   * @param gained whether something came of the last try: then patience is as at first.
   * @throws {ModelError} when it never does.
   * @throws the signal's reason when cancelled.
   */
  async persist<T>(
    attempt: () => Promise<T>,
    { gained = () => false }: { gained?: () => boolean } = {},
  ): Promise<T> {
    const { retries, delayMs } = this.#patience;
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (error) {
        this.#signal?.throwIfAborted();
        if (!(error instanceof Transient)) throw error;
        if (gained()) failures = 1;
        const { afterMs, unreachable = false } = error.options;
        const tooLong = afterMs !== undefined && afterMs > longestWaitMs;
        if (failures > (unreachable ? Math.min(retries, 2) : retries) || tooLong)
          throw this.#giveUp(error, failures);
        const wait = afterMs ?? delayMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
        await sleep(wait, undefined, this.#signal && { signal: this.#signal }).catch(() =>
          this.#signal?.throwIfAborted(),
        );
      }
    }
  }

  /** A whole answer of the API. */
  async #whole(url: string, init: RequestInit | undefined, revision: string): Promise<Response> {
    const watch = new Watch(this.#signal, this.#patience.stallMs);
    try {
      const response = await this.#request(url, watch, init ?? {});
      if (!response.ok) await this.#refuse(response, { own: true, revision });
      const parts: Uint8Array[] = [];
      for await (const chunk of watch.chunks(response)) parts.push(chunk);
      return new Response(Buffer.concat(parts), { status: response.status, headers: response.headers });
    } finally {
      watch.end();
    }
  }

  async #request(url: string, watch: Watch, init: RequestInit): Promise<Response> {
    const { endpoint, token } = this.settings;
    const headers = new Headers(init.headers);
    headers.set("user-agent", "mflux-depth");
    // To nobody else, whatever the Hub redirects to.
    if (token && new URL(url).origin === new URL(endpoint).origin)
      headers.set("authorization", `Bearer ${token.value}`);
    try {
      return await fetch(url, { ...init, headers, signal: watch.signal });
    } catch (error) {
      throw watch.explain(error);
    }
  }

  #compare(response: Response, file: HubFile): void {
    const { headers, status } = response;
    if (status >= 400) return;
    // A redirect's own ETag is that of the redirect.
    const etag = headers.get("x-linked-etag") ?? (status < 300 ? headers.get("etag") : null);
    const bytes = headers.get("x-linked-size");
    if (
      (etag !== null && etag.replace(/^W\//, "").replaceAll('"', "") !== file.etag) ||
      (bytes !== null && Number(bytes) !== file.bytes)
    )
      throw new Changed(`${file.path} is not what was listed`);
  }

  /** @throws always: {@link Transient} for what may pass, else {@link ModelError}. */
  async #refuse(
    response: Response,
    { own, file, revision }: { own: boolean; file?: string; revision?: string },
  ): Promise<never> {
    const { status, headers } = response;
    const code = headers.get("x-error-code");
    const text = await response.text().catch(() => "");
    const said = headers.get("x-error-message") ?? (/^\s*[{<]/.test(text) ? "" : text.trim().slice(0, 200));
    if (status === 429 || status === 408 || status >= 500 || !own)
      // Addresses that the Hub redirects to expire: then it has a new one.
      throw new Transient(status === 429 ? tooMany : `the server failed (${status})`, {
        afterMs: status === 429 || status === 503 ? waitOf(headers) : undefined,
      });
    const { repository } = this;
    const { endpoint, token } = this.settings;
    const page = `${endpoint}/${repository}`;
    const giveToken = `make a token at ${endpoint}/settings/tokens and give it in HF_TOKEN or with \`hf auth login\``;
    const fail = (reason: string): never => {
      throw new ModelError(repository, reason);
    };
    if (status === 401 && token && code !== "GatedRepo" && code !== "RepoNotFound")
      return fail(`the Hub does not accept the token of ${token.source}; ${giveToken}`);
    if (code === "GatedRepo")
      return fail(
        token
          ? `access is gated, and the account of the token in ${token.source} has not been let in: accept the terms at ${page} with that account (a fine-grained token must also be allowed to read gated repositories), then run this again`
          : `access is gated: accept the terms at ${page}, then ${giveToken}`,
      );
    if (code === "RevisionNotFound")
      return fail(`the Hub has no revision ${revision ?? "of that name"} of it`);
    if (code === "EntryNotFound" && file !== undefined) throw new Changed(`${file} is no longer there`);
    if (status === 404 || status === 401)
      return fail(
        `there is no such repository at ${endpoint}, or it is private: check the name${token ? "" : `; for a private one, ${giveToken}`}`,
      );
    if (status === 403)
      return fail(
        `the Hub refuses access${said ? ` (${said})` : ""}; see ${page}${token ? ` with the account of the token in ${token.source}` : `, and ${giveToken}`}`,
      );
    return fail(`the Hub answers with ${status}${said ? ` (${said})` : ""} to a request that should work`);
  }

  #giveUp(error: Transient, tries: number): ModelError {
    const { endpoint, token } = this.settings;
    const { afterMs, unreachable } = error.options;
    const fail = (reason: string): ModelError => new ModelError(this.repository, reason, { cause: error });
    if (unreachable)
      return fail(
        `it is not whole in the cache, and the Hub (${endpoint}) cannot be reached (${error.message}); check the connection and run this again`,
      );
    const times = tries === 1 ? "" : `, ${tries} times in a row`;
    const when = afterMs === undefined ? "" : ` in ${Math.ceil(afterMs / 1000)} s`;
    const account = error.message === tooMany && !token ? ", or give a token in HF_TOKEN" : "";
    return fail(
      `the download from ${endpoint} failed (${error.message})${times}; run this again${when}${account}: it goes on where it stopped`,
    );
  }

  /** What @huggingface/hub or we made of an answer that is none of a Hub. */
  #nonsense(error: unknown): never {
    if (error instanceof ModelError || error instanceof Transient) throw error;
    this.#signal?.throwIfAborted();
    throw new ModelError(
      this.repository,
      `${this.settings.endpoint} does not answer as the Hugging Face Hub does${error instanceof Error ? ` (${error.message})` : ""}; check HF_ENDPOINT`,
      { cause: error },
    );
  }
}

const tooMany = "too many requests";

/** What a busy server asks to wait. */
function waitOf(headers: Headers): number | undefined {
  const after = headers.get("retry-after");
  if (after !== null) {
    const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now();
    if (Number.isFinite(ms)) return Math.max(ms, 0);
  }
  // The Hub's own: "api";r=0;t=160 is nothing left for 160 seconds.
  const reset = /;\s*t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}

/** Ends a request on which nothing happens, or when its owner does. */
class Watch {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #owner: AbortSignal | undefined;
  // Node 20 loses what AbortSignal.any made to its garbage collector; then the request would never end.
  readonly #forward = (): void => this.#controller.abort(this.#owner?.reason);

  constructor(owner: AbortSignal | undefined, stallMs: number) {
    this.#owner = owner;
    if (owner?.aborted) this.#forward();
    owner?.addEventListener("abort", this.#forward, { once: true });
    this.#timer = setTimeout(
      () => this.#controller.abort(new Transient(`nothing came for ${Math.round(stallMs / 1000)} s`)),
      stallMs,
    );
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The body, each part of which is a sign of life. */
  async *chunks(response: Response): AsyncGenerator<Uint8Array, void> {
    try {
      yield* this.parts(response);
    } finally {
      this.end();
    }
  }

  /** As {@link chunks}, and the request goes on after it. */
  async *parts({ body }: Response): AsyncGenerator<Uint8Array, void> {
    const reader = body?.getReader();
    // A body whose request ends just as it is opened may stay silent forever: Node's fetch does not always tell it.
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
      for (let part = reader && (await read()); part && !part.done; part = await read()) {
        this.#timer.refresh();
        yield part.value;
      }
    } catch (error) {
      throw this.explain(error);
    } finally {
      this.signal.removeEventListener("abort", abort);
      // Nobody waits for it: a connection that is broken need not answer.
      reader?.cancel().catch(() => {});
    }
  }

  /** The error behind one of `fetch`. */
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

  end(): void {
    clearTimeout(this.#timer);
    this.#owner?.removeEventListener("abort", this.#forward);
  }
}
