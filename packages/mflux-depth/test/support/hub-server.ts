import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Files = Readonly<Record<string, Uint8Array | string>>;

/** A repository on the server. */
export interface Hosted {
  /** Files by commit. */
  commits: Record<string, Files>;
  /** The commits of branches and tags. */
  refs: Record<string, string>;
  gated?: boolean;
  private?: boolean;
}

/** A request that the server received. */
export interface Asked {
  readonly method: string;
  /** "/api/…" or "/owner/name/resolve/…"; "/cdn/HASH" on the CDN. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly cdn: boolean;
}

/** Makes a request fail: answers it and returns true, or returns changes to the normal answer. */
export type Fault = (
  asked: Asked,
  response: ServerResponse,
) =>
  | true
  | {
      /** Cuts the connection after this many bytes of the body. */
      readonly cutAfter?: number;
      /** Resolves when the connection is to be cut; by default a moment after the last bytes were sent. */
      readonly cutWhen?: () => Promise<void>;
      readonly body?: (bytes: Buffer) => Buffer;
      readonly headers?: Record<string, string>;
    }
  | undefined;

/** A token with access to every repository. */
export const goodToken = "hf_good";
/** A valid token without access to gated and private repositories. */
export const poorToken = "hf_poor";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const gitSha1 = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Whether the Hub stores a file in LFS. */
const inLfs = (path: string, bytes: Uint8Array): boolean =>
  path.endsWith(".safetensors") || bytes.length > 100_000;

export const etagOf = (path: string, bytes: Uint8Array): string =>
  inLfs(path, bytes) ? sha256(bytes) : gitSha1(bytes);

export const newCommit = (): string => randomBytes(20).toString("hex");

/** A Hub and its CDN on loopback, with the protocol and the headers of huggingface.co. */
export class HubServer implements AsyncDisposable {
  readonly repositories: Record<string, Hosted> = {};
  readonly asked: Asked[] = [];
  /** Number of files on each page of a listing. */
  pageSize = 5;
  fault: Fault | null = null;
  #hub!: Server;
  #cdn!: Server;
  readonly #stored = new Map<string, Buffer>();

  static async start(): Promise<HubServer> {
    const server = new HubServer();
    server.#hub = await listen((request, response) => server.#answer(request, response, false));
    server.#cdn = await listen((request, response) => server.#answer(request, response, true));
    return server;
  }

  get endpoint(): string {
    return addressOf(this.#hub);
  }

  /** Adds or replaces a repository with a single commit; returns the commit. */
  host(name: string, files: Files, options: Partial<Hosted> = {}): string {
    const commit = newCommit();
    this.repositories[name] = { commits: { [commit]: files }, refs: { main: commit }, ...options };
    return commit;
  }

  /** The files whose content has been requested from the Hub, in order. */
  resolved(): string[] {
    return this.asked.flatMap(({ path, cdn }) =>
      cdn ? [] : (/\/resolve\/[^/]+\/(.*)$/.exec(path)?.[1] ?? []),
    );
  }

  /** Forgets requests and faults; repositories stay. */
  forget(): void {
    this.asked.length = 0;
    this.fault = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse, cdn: boolean): true {
    const url = new URL(request.url!, "http://hub");
    const asked: Asked = {
      method: request.method!,
      path: decodeURIComponent(url.pathname),
      headers: request.headers,
      cdn,
    };
    this.asked.push(asked);
    const fault = this.fault?.(asked, response);
    if (fault === true) return true;
    const send = (status: number, headers: Record<string, string>, body: Buffer | string = ""): true => {
      const bytes = fault?.body?.(Buffer.from(body)) ?? Buffer.from(body);
      response.writeHead(status, { "content-length": `${bytes.length}`, ...headers, ...fault?.headers });
      if (asked.method === "HEAD") response.end();
      else if (fault?.cutAfter !== undefined) {
        response.flushHeaders();
        if (fault.cutAfter > 0) response.write(bytes.subarray(0, fault.cutAfter));
        void (fault.cutWhen?.() ?? sleep(5)).then(() => response.destroy());
      } else response.end(bytes);
      return true;
    };
    const refuse = (status: number, code?: string): true =>
      send(
        status,
        {
          "content-type": "application/json",
          ...(code && { "x-error-code": code, "x-error-message": `${code} of the test` }),
        },
        JSON.stringify({ error: `status ${status}` }),
      );

    if (cdn) {
      // The real CDN refuses requests with a second form of authorization.
      if (request.headers.authorization) return refuse(400);
      const bytes = this.#stored.get(url.pathname.split("/").at(-1)!);
      return bytes ? sendFile(asked, bytes, { etag: '"of-the-cdn"' }, send) : refuse(403);
    }

    const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/(.+)$/.exec(url.pathname);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const [, name, revision] = (
      api ? [api[0], api[1], api[3]] : [resolve?.[0], resolve?.[1], resolve?.[2]]
    ) as string[];
    const token = request.headers.authorization?.replace("Bearer ", "");
    if (token !== undefined && token !== goodToken && token !== poorToken) return refuse(401);
    const hosted = this.repositories[name ?? ""];
    if (!hosted || (hosted.private && token !== goodToken)) return refuse(token ? 404 : 401, "RepoNotFound");
    const asRevision = decodeURIComponent(revision!);
    const commit = hosted.refs[asRevision] ?? asRevision;
    const files = hosted.commits[commit];
    if (!files) return refuse(404, "RevisionNotFound");
    const bytesOf = (path: string): Buffer => Buffer.from(files[path]!);

    if (api?.[2] === "revision")
      return send(
        200,
        { "content-type": "application/json" },
        JSON.stringify({
          _id: "1",
          id: name,
          sha: commit,
          private: false,
          gated: hosted.gated ? "auto" : false,
          lastModified: "2025-01-01T00:00:00.000Z",
          downloads: 1,
          likes: 1,
        }),
      );
    if (api) {
      const paths = Object.keys(files).sort();
      const from = Number(url.searchParams.get("cursor") ?? 0);
      const next = from + this.pageSize;
      const folders =
        from > 0
          ? []
          : [...new Set(paths.filter((path) => path.includes("/")).map((path) => path.split("/")[0]!))];
      const page = [
        ...folders.map((path) => ({ type: "directory", oid: gitSha1(Buffer.from(path)), size: 0, path })),
        ...paths.slice(from, next).map((path) => {
          const bytes = bytesOf(path);
          const lfs = inLfs(path, bytes) && {
            lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 },
            xetHash: sha256(Buffer.from(path)),
          };
          return {
            type: "file",
            oid: gitSha1(lfs ? Buffer.from("pointer") : bytes),
            size: bytes.length,
            path,
            ...lfs,
          };
        }),
      ];
      url.searchParams.set("cursor", `${next}`);
      const link = next < paths.length && {
        link: `<${this.endpoint}${url.pathname}${url.search}>; rel="next"`,
      };
      return send(200, { "content-type": "application/json", ...link }, JSON.stringify(page));
    }
    if (hosted.gated && token !== goodToken) return refuse(token ? 403 : 401, "GatedRepo");
    const path = decodeURIComponent(resolve![3]!);
    if (!Object.hasOwn(files, path)) return refuse(404, "EntryNotFound");
    const bytes = bytesOf(path);
    const known = { "x-repo-commit": commit, "accept-ranges": "bytes" };
    if (!inLfs(path, bytes)) return sendFile(asked, bytes, { ...known, etag: `"${gitSha1(bytes)}"` }, send);
    this.#stored.set(sha256(bytes), bytes);
    return send(302, {
      ...known,
      location: `${addressOf(this.#cdn)}/cdn/${sha256(bytes)}?signature=1`,
      etag: '"of-the-redirect"',
      "x-linked-etag": `"${sha256(bytes)}"`,
      "x-linked-size": `${bytes.length}`,
      "x-xet-hash": sha256(Buffer.from(path)),
      link: `<${this.endpoint}/api/xet>; rel="xet-auth"`,
    });
  }
}

function sendFile(
  { headers }: Asked,
  bytes: Buffer,
  known: Record<string, string>,
  send: (status: number, headers: Record<string, string>, body?: Buffer) => true,
): true {
  const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? Number.NaN);
  if (Number.isNaN(from)) return send(200, known, bytes);
  if (from >= bytes.length) return send(416, { ...known, "content-range": `bytes */${bytes.length}` });
  return send(
    206,
    { ...known, "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` },
    bytes.subarray(from),
  );
}

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

const addressOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
