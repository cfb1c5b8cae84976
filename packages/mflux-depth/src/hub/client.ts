/*
 * The Hub's protocol: listing a repository and opening its files.
 *
 * Listing uses @huggingface/hub. Its download (2.17) does not: it starts over instead of resuming, checks no hashes,
 * accepts any response to a range request, reports no progress and takes no AbortSignal. Files stored in Xet are served
 * at the same addresses, through the Hub's bridge.
 */
import { describeBytes } from "../bytes.js";
import { ModelError } from "../errors.js";
import { Changed, lastFailure, type Requested, refusalOf } from "./refusal.js";
import { type Patience, retry, Transient, usualPatience } from "./retry.js";
import { type HubSettings, withoutTokens } from "./settings.js";
import type { WaitListener } from "./waiting.js";
import { WatchedRequest } from "./watched-request.js";

/** A file as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly bytes: number;
  /** Its name among the blobs of the cache: the SHA-256 of an LFS file, otherwise git's SHA-1. */
  readonly etag: string;
  readonly lfs: boolean;
}

/** A repository at a commit. */
export interface HubListing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/** Bytes of a file, up to its end. */
export interface HubBody {
  /** Offset of the first byte: the requested one, or 0 from a server that ignores ranges. */
  readonly start: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

const mostRedirects = 10;

/** The maximum size of an API answer in bytes; a page of a listing has about 300 kB. */
const mostAnswerBytes = 2 ** 25;

/** The maximum number of pages and files in a listing. */
const mostPages = 1000;
const mostFiles = 100_000;

/** The maximum number of bytes read from an error's text. */
const mostErrorBytes = 2 ** 16;

export interface HubClientOptions {
  readonly signal?: AbortSignal | undefined;
  readonly patience?: Partial<Patience> | undefined;
  /** Called every few seconds with the reason for waiting. */
  readonly onWait?: WaitListener | undefined;
}

/** Access to one repository of the Hub. */
export class HubClient {
  readonly settings: HubSettings;
  readonly repository: string;
  readonly #signal: AbortSignal | undefined;
  readonly patience: Patience;
  readonly #onWait: WaitListener | undefined;

  constructor(settings: HubSettings, repository: string, options: HubClientOptions = {}) {
    this.settings = settings;
    this.repository = repository;
    this.#signal = options.signal;
    this.patience = { ...usualPatience, ...options.patience };
    this.#onWait = options.onWait;
  }

  /**
   * Resolves a revision to its commit and lists its files.
   * @throws {ModelError} if the Hub refuses, cannot be reached, or gives an invalid answer.
   */
  async list(revision: string): Promise<HubListing> {
    const { listFiles, modelInfo } = await import("@huggingface/hub");
    let pages = 0;
    const shared = {
      hubUrl: this.settings.endpoint,
      fetch: (url: unknown, init?: RequestInit): Promise<Response> => {
        if (pages++ > mostPages) throw new Error(`its listing has more than ${mostPages} pages`);
        return this.persist(() => this.#fetchWhole(String(url), init, revision));
      },
    };
    try {
      const info = await modelInfo({
        ...shared,
        name: this.repository,
        revision,
        additionalFields: ["sha"],
      });
      const commit = checkCommit(info.sha);
      const files = new Map<string, HubFile>();
      const listed = listFiles({ ...shared, repo: this.repository, revision: commit, recursive: true });
      for await (const entry of listed) {
        if (entry.type === "file") files.set(entry.path, checkFile(entry));
        if (files.size > mostFiles) throw new Error(`it lists more than ${mostFiles} files`);
      }
      return { commit, files };
    } catch (error) {
      throw this.#explainListing(error);
    }
  }

  /**
   * Opens a file at an offset. This is a single attempt: retry reading with {@link persist}.
   * @throws {Transient} if the connection or the server fails.
   * @throws {Changed} if the file on the Hub has changed.
   * @throws {ModelError} if the Hub refuses.
   */
  async open(file: HubFile, commit: string, offset: number): Promise<HubBody> {
    const request = this.#watch({ file: true });
    try {
      const response = await this.#openFollowing(request, file, commit, offset);
      const start = startOf(response);
      if (start !== 0 && start !== offset)
        throw new Transient("the server sent a different range of the file");
      return { start, chunks: request.chunks(response) };
    } catch (error) {
      request.end();
      throw error;
    }
  }

  /**
   * Repeats an attempt until it succeeds, as long as patience lasts.
   * @param options.gained whether the last attempt made progress, which renews patience.
   * @throws {ModelError} if it never succeeds.
   * @throws the signal's reason when cancelled.
   */
  persist<T>(attempt: () => Promise<T>, options: { gained?: () => boolean } = {}): Promise<T> {
    return retry(attempt, {
      patience: this.patience,
      signal: this.#signal,
      onWait: this.#onWait,
      gained: options.gained,
      giveUp: (error, attempts) => lastFailure(error, attempts, this),
    });
  }

  /** Follows redirects to the server that has the bytes. The Hub describes the file in its own response. */
  async #openFollowing(
    request: WatchedRequest,
    file: HubFile,
    commit: string,
    offset: number,
  ): Promise<Response> {
    const path = file.path.split("/").map(encodeURIComponent).join("/");
    let url = `${this.settings.endpoint}/${this.repository}/resolve/${commit}/${path}`;
    for (let hop = 0; hop < mostRedirects; hop++) {
      const byHub = this.#isHub(url);
      const response = await this.#fetch(url, request, {
        redirect: "manual",
        headers: {
          // Offsets in a compressed response would be different.
          "accept-encoding": "identity",
          ...(offset > 0 && { range: `bytes=${offset}-` }),
        },
      });
      const { status, headers } = response;
      if (byHub) checkUnchanged(response, file);
      const location = status >= 300 && status < 400 ? headers.get("location") : null;
      if (location !== null) {
        await request.skip(response);
        url = new URL(location, url).href;
        continue;
      }
      if (status === 416) throw new Changed(`${file.path} is shorter than listed`);
      if (!response.ok)
        throw await this.#refusal(request, response, { byHub, file: file.path, revision: commit });
      return response;
    }
    throw new Transient("the server keeps redirecting");
  }

  /** Fetches a complete response of the API. */
  async #fetchWhole(url: string, init: RequestInit | undefined, revision: string): Promise<Response> {
    const request = this.#watch({ file: false });
    try {
      const response = await this.#fetch(url, request, init ?? {});
      if (!response.ok) throw await this.#refusal(request, response, { byHub: true, revision });
      const chunks: Uint8Array[] = [];
      let bytes = 0;
      for await (const chunk of request.chunks(response)) {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > mostAnswerBytes)
          throw new Error(`its answer is longer than ${describeBytes(mostAnswerBytes)}`);
      }
      return new Response(Buffer.concat(chunks), { status: response.status, headers: response.headers });
    } finally {
      request.end();
    }
  }

  #watch({ file }: { readonly file: boolean }): WatchedRequest {
    return new WatchedRequest({
      signal: this.#signal,
      patience: this.patience,
      onWait: this.#onWait,
      file,
    });
  }

  /** The error for an error response, of whose text only the beginning is read. */
  async #refusal(request: WatchedRequest, response: Response, requested: Requested): Promise<Error> {
    const { status, headers } = response;
    const text = await request.text(response, mostErrorBytes).catch(() => "");
    return refusalOf(new Response(text, { status, headers }), this, requested);
  }

  async #fetch(url: string, request: WatchedRequest, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("user-agent", "mflux-depth");
    const { token } = this.settings;
    // Never send the token to a server that the Hub redirects to.
    if (token && this.#isHub(url)) headers.set("authorization", `Bearer ${token.value}`);
    request.asks(new URL(url).origin);
    try {
      const response = await fetch(url, { ...init, headers, signal: request.signal });
      request.answered();
      return response;
    } catch (error) {
      throw request.explain(error);
    }
  }

  #isHub(url: string): boolean {
    return new URL(url).origin === new URL(this.settings.endpoint).origin;
  }

  /** The error for a failed listing. Errors other than our own mean that the server is not a Hub. */
  #explainListing(error: unknown): unknown {
    if (error instanceof ModelError || error instanceof Transient) return error;
    if (this.#signal?.aborted) return this.#signal.reason;
    const why = error instanceof Error ? ` (${withoutTokens(error.message, this.settings.token)})` : "";
    return new ModelError(
      this.repository,
      `${this.settings.endpoint} does not answer like the Hugging Face Hub${why}; check HF_ENDPOINT`,
      { cause: error },
    );
  }
}

function checkCommit(sha: unknown): string {
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) throw new Error("it sent no commit");
  return sha;
}

/** Checks a listed file, because its path and hash become file names on this machine. */
function checkFile({
  path,
  size,
  oid,
  lfs,
}: {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string; size: number };
}): HubFile {
  const [etag, bytes] = [lfs?.oid ?? oid ?? "", lfs?.size ?? size];
  if (
    typeof path !== "string" ||
    typeof etag !== "string" ||
    !/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(etag) ||
    !Number.isSafeInteger(bytes) ||
    bytes < 0 ||
    /(^|[/\\])\.\.?([/\\]|$)|^[/\\]|[\0\\]/.test(path)
  )
    throw new Error(`it listed an invalid file, ${JSON.stringify(path)}`);
  return { path, bytes, etag, lfs: lfs !== undefined };
}

/** @throws {Changed} if the Hub describes a file differently from its listing. */
function checkUnchanged({ headers, status }: Response, file: HubFile): void {
  if (status >= 400) return;
  // The ETag of a redirect describes the redirect, not the file.
  const etag = headers.get("x-linked-etag") ?? (status < 300 ? headers.get("etag") : null);
  const bytes = headers.get("x-linked-size");
  if (
    (etag !== null && etag.replace(/^W\//, "").replaceAll('"', "") !== file.etag) ||
    (bytes !== null && Number(bytes) !== file.bytes)
  )
    throw new Changed(`${file.path} differs from its listing`);
}

/** The offset at which a response begins; NaN if it is a range without one. */
const startOf = ({ status, headers }: Response): number =>
  status === 206 ? Number(/^bytes (\d+)-/.exec(headers.get("content-range") ?? "")?.[1]) : 0;
