/* The server's interface as functions. Only `session.ts` sends requests of its own. */
import type {
  BlobObject,
  CapabilitiesObject,
  ErrorObject,
  JobBody,
  JobObject,
  JobPage,
  JobState,
  ModelObject,
  PlanObject,
  QueueObject,
  WorkerObject,
} from "@mflux-depth/server/contract";
import { locked } from "./session.js";

/** The server refused a request. */
export class RefusedError extends Error {
  constructor(
    readonly status: number,
    readonly error: ErrorObject,
  ) {
    super(error.message);
  }
}

/** The server did not answer. */
export class ServerAwayError extends Error {}

interface Options {
  readonly method?: string;
  readonly json?: unknown;
  readonly body?: Blob;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly keepalive?: boolean;
}

async function send(path: string, options: Options = {}): Promise<Response> {
  const { json, body, headers, ...rest } = options;
  let response: Response;
  try {
    response = await fetch(path, {
      ...rest,
      ...(json !== undefined ? { body: JSON.stringify(json) } : body !== undefined && { body }),
      headers: { ...(json !== undefined && { "content-type": "application/json" }), ...headers },
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ServerAwayError(String(error));
  }
  if (response.ok) return response;
  if (response.status === 401) locked.value = true;
  throw new RefusedError(response.status, await errorOf(response));
}

/** The error object of an answer. Answers of intermediaries, such as proxies, have none. */
async function errorOf(response: Response): Promise<ErrorObject> {
  const answer = await response.json().catch(() => null);
  const error = (answer as { error?: Partial<ErrorObject> } | null)?.error;
  if (typeof error?.message === "string") return error as ErrorObject;
  return {
    message: `${response.status} ${response.statusText}`,
    type: "server_error",
    param: null,
    code: "unreadable_answer",
  };
}

const read = <T>(path: string, options?: Options): Promise<T> =>
  receive(path, options, (response) => response.json() as Promise<T>);

/** Sends a request and reads the whole answer, because the connection can still break while reading. */
async function receive<T>(
  path: string,
  options: Options | undefined,
  take: (response: Response) => Promise<T>,
): Promise<T> {
  const response = await send(path, options);
  try {
    return await take(response);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ServerAwayError(String(error));
  }
}

const bytesOf = (response: Response): Promise<ArrayBuffer> => response.arrayBuffer();
const fileOf = (response: Response): Promise<Blob> => response.blob();

const job = (id: string): string => `/v1/jobs/${encodeURIComponent(id)}`;

/** Filters the jobs of a history page. */
export interface JobFilter {
  readonly states?: readonly JobState[];
  readonly query?: string;
  readonly starred?: boolean;
  readonly limit?: number;
  readonly cursor?: string;
}

function queryOf({ states = [], query, starred, limit, cursor }: JobFilter): string {
  const parameters = new URLSearchParams();
  for (const state of states) parameters.append("state", state);
  if (query) parameters.set("q", query);
  if (starred) parameters.set("starred", "true");
  if (limit) parameters.set("limit", String(limit));
  if (cursor) parameters.set("cursor", cursor);
  return parameters.size > 0 ? `?${parameters}` : "";
}

export const api = {
  capabilities: () => read<CapabilitiesObject>("/v1/capabilities"),
  models: async () => (await read<{ data: ModelObject[] }>("/v1/models")).data,
  jobs: (filter: JobFilter) => read<JobPage>(`/v1/jobs${queryOf(filter)}`),
  job: (id: string) => read<JobObject>(job(id)),
  submit: (body: JobBody, key: string) =>
    read<JobObject>("/v1/jobs", { method: "POST", json: body, headers: { "idempotency-key": key } }),
  cancel: (id: string) => read<JobObject>(`${job(id)}/cancel`, { method: "POST" }),
  retry: (id: string) => read<JobObject>(`${job(id)}/retry`, { method: "POST" }),
  update: (id: string, changes: { readonly starred?: boolean; readonly priority?: number }) =>
    read<JobObject>(job(id), { method: "PATCH", json: changes }),
  /** `leaving` lets the request outlive the page. */
  remove: async (id: string, leaving = false) =>
    void (await send(job(id), { method: "DELETE", keepalive: leaving })),
  plan: (body: JobBody, signal: AbortSignal) =>
    read<PlanObject>("/v1/plan", { method: "POST", json: body, signal }),
  queue: () => read<QueueObject>("/v1/queue"),
  pauseQueue: () => read<QueueObject>("/v1/queue/pause", { method: "POST" }),
  resumeQueue: () => read<QueueObject>("/v1/queue/resume", { method: "POST" }),
  workers: async () => (await read<{ data: WorkerObject[] }>("/v1/workers")).data,
  drain: (id: string) =>
    read<WorkerObject>(`/v1/workers/${encodeURIComponent(id)}/drain`, { method: "POST" }),
  resume: (id: string) =>
    read<WorkerObject>(`/v1/workers/${encodeURIComponent(id)}/resume`, { method: "POST" }),
  upload: (picture: Blob, signal?: AbortSignal) =>
    read<BlobObject>("/v1/blobs", {
      method: "POST",
      body: picture,
      headers: { "content-type": picture.type || "application/octet-stream" },
      ...(signal && { signal }),
    }),
  /** The bytes of a picture that was uploaded. */
  blob: (id: string) => receive(`/v1/blobs/${id}`, undefined, fileOf),
  /** The luminance of a picture that was uploaded, as `.npy`. */
  blobMap: (id: string, signal: AbortSignal) => receive(`/v1/blobs/${id}/map`, { signal }, bytesOf),
  /** The estimator's own inverse depth of a photo, as `.npy`. */
  rawDepth: (photo: Blob, signal: AbortSignal) =>
    receive(
      "/v1/depth?format=npy&raw=true",
      {
        method: "POST",
        body: photo,
        headers: { "content-type": photo.type || "application/octet-stream" },
        signal,
      },
      bytesOf,
    ),
  /** Reads a file by its address, of a job or of the page itself. */
  file: (url: string) => receive(url, undefined, fileOf),
  /** A job's depth map, as `.npy`. */
  jobDepth: (url: string) => receive(`${url}?format=npy`, undefined, bytesOf),
} as const;

/** The address of a job's picture as a thumbnail of a width in pixels. */
export const thumbnailOf = (image: { readonly url: string }, width: number): string =>
  `${image.url}?format=webp&width=${width}`;
