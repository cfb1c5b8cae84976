import { createHash } from "node:crypto";
import type { EventData } from "../contract/index.js";
import type { ClaimEnd } from "../dispatch/dispatcher.js";
import type { Preview, ProgressName } from "../history/live.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type {
  AttemptEnd,
  AttemptJob,
  AttemptOutcome,
  AttemptRecord,
  AttemptRecords,
  AttemptRef,
  AttemptStart,
  KeptFile,
} from "../work/attempt-record.js";
import type { Checkpoint } from "../work/checkpoints.js";
import { type ApiClient, ApiRefusal } from "./api-client.js";
import { bodyOfCheckpoint, checkpointOfBody } from "./checkpoint-body.js";
import { Outbox } from "./outbox.js";
import type {
  BeginAnswer,
  CandidateBody,
  EndAnswer,
  EndBody,
  FilesAnswer,
  Report,
  Standing,
  StandingAnswer,
} from "./protocol.js";

/** How long a worker tries to begin a job before giving it back, and to report one that it leaves. */
const patienceMs = 5000;

/** Records attempts at the API, from another machine. */
export class RemoteRecords implements AttemptRecords {
  readonly #api: ApiClient;
  readonly #onProblem: (message: string, error: unknown) => void;
  #current: RemoteRecord | null = null;

  constructor(api: ApiClient, onProblem: (message: string, error: unknown) => void) {
    this.#api = api;
    this.#onProblem = onProblem;
  }

  /** The record of the attempt that began last. */
  get current(): RemoteRecord | null {
    return this.#current;
  }

  async begin({ id, attempt }: AttemptRef): Promise<RemoteRecord | null> {
    const path = pathOf(id, attempt);
    const { start } = await this.#soon<BeginAnswer>(path);
    if (!start) return null;
    this.#current = new RemoteRecord(this.#api, start, this.#onProblem);
    return this.#current;
  }

  async recover({ id, attempt }: AttemptRef): Promise<void> {
    const outcome = { state: "interrupted" } as const;
    try {
      await this.#soon<EndAnswer>(`${pathOf(id, attempt)}/end`, { outcome } satisfies EndBody);
    } catch (error) {
      // The attempt never began at the API, so there is nothing to record.
      if (!(error instanceof ApiRefusal) || error.code !== "forbidden") throw error;
    }
  }

  #soon<Answer>(path: string, body: object = {}): Promise<Answer> {
    const signal = AbortSignal.timeout(patienceMs);
    return this.#api.untilAnswered(
      () => this.#api.ask<Answer>({ method: "POST", path, body }, signal),
      signal,
    );
  }
}

/**
 * The record of one attempt, kept at the API. Reports arrive in order and exactly once, however bad the connection is:
 * requests are repeated until the API answers, and the API recognises repeats.
 */
export class RemoteRecord implements AttemptRecord {
  readonly job: AttemptJob;
  readonly candidates: readonly ArtifactRecord[];
  readonly #api: ApiClient;
  readonly #onProblem: (message: string, error: unknown) => void;
  readonly #stopped = new AbortController();
  /** Like the other signal, but a cancelled attempt can still report its end. */
  readonly #lost = new AbortController();
  readonly #outbox = new Outbox(async (reports) => {
    this.hear((await this.#post<StandingAnswer>("/reports", reports)).standing);
  });
  /** The contents of files that the API may ask for again, by hash. */
  readonly #files = new Map<string, Uint8Array>();

  constructor(api: ApiClient, start: AttemptStart, onProblem: (message: string, error: unknown) => void) {
    this.#api = api;
    this.job = start.job;
    this.candidates = start.candidates;
    this.#onProblem = onProblem;
  }

  get signal(): AbortSignal {
    return this.#stopped.signal;
  }

  /** Reacts to the API's view of the attempt. */
  hear(standing: Standing): void {
    if (standing === "current") return;
    this.#stopped.abort(standing satisfies ClaimEnd);
    if (standing === "lost") this.#lost.abort(standing);
  }

  async isCurrent(): Promise<boolean> {
    try {
      this.hear((await this.#api.ask<StandingAnswer>({ method: "GET", path: this.#path("") })).standing);
    } catch (error) {
      // The API has not given the job away: the attempt continues, and reports later.
      if (!(error instanceof ApiRefusal)) return true;
      this.#refused(error);
    }
    return !this.#lost.signal.aborted;
  }

  async picture(sha256: string): Promise<Uint8Array> {
    return (await this.#get(`/pictures/${sha256}`))!;
  }

  async latestCheckpoint(): Promise<Checkpoint | null> {
    const body = await this.#get("/checkpoint");
    return body && checkpointOfBody(body);
  }

  progressed<Name extends ProgressName>(name: Name, data: EventData[Name]): void {
    this.#report({ type: name, data } as Report);
  }

  previewed({ step, mime, width, height, bytes }: Preview): void {
    const base64 = Buffer.from(bytes).toString("base64");
    this.#report({ type: "preview", step, mime, width, height, base64 });
  }

  resumed(step: number): void {
    this.#report({ type: "resumed", step });
  }

  beganAnew(): void {
    this.#report({ type: "began_anew" });
  }

  warned(message: string): void {
    this.#report({ type: "warning", message });
  }

  modelLoaded(seconds: number): void {
    this.#report({ type: "model_loaded", seconds });
  }

  async saveCheckpoint(checkpoint: Checkpoint): Promise<void> {
    this.hear((await this.#put<StandingAnswer>("/checkpoint", bodyOfCheckpoint(checkpoint))).standing);
  }

  async keep(bytes: Uint8Array): Promise<KeptFile> {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    this.#files.set(sha256, bytes);
    await this.#put(`/files/${sha256}`, bytes);
    return { sha256, bytes: bytes.byteLength };
  }

  async candidateMade(candidate: ArtifactRecord, step: number): Promise<void> {
    const body: CandidateBody = { candidate, step };
    this.hear((await this.#postNamingFiles<FilesAnswer>("/candidates", body)).standing);
  }

  async end(outcome: AttemptOutcome): Promise<AttemptEnd> {
    try {
      await this.#outbox.flush();
      return (await this.#postNamingFiles<EndAnswer>("/end", { outcome } satisfies EndBody)).end;
    } catch (error) {
      if (this.#lost.signal.aborted) return "lost";
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#files.clear();
  }

  #report(report: Report): void {
    if (!this.#lost.signal.aborted) this.#outbox.add(report);
  }

  /** Sends a request that names files, and uploads those that the API has lost again. */
  async #postNamingFiles<Answer extends Pick<FilesAnswer, "missing">>(
    path: string,
    body: object,
  ): Promise<Answer> {
    for (;;) {
      const answer = await this.#post<Answer>(path, body);
      if (answer.missing.length === 0) return answer;
      for (const sha256 of answer.missing) await this.#put(`/files/${sha256}`, this.#files.get(sha256)!);
    }
  }

  #post<Answer>(path: string, body: object): Promise<Answer> {
    const request = { method: "POST", path: this.#path(path), body } as const;
    return this.#persist((signal) => this.#api.ask<Answer>(request, signal), this.#lost.signal);
  }

  #put<Answer>(path: string, body: Uint8Array): Promise<Answer> {
    const request = { method: "PUT", path: this.#path(path), body } as const;
    return this.#persist((signal) => this.#api.ask<Answer>(request, signal), this.signal);
  }

  #get(path: string): Promise<Uint8Array | null> {
    const request = { method: "GET", path: this.#path(path) } as const;
    return this.#persist((signal) => this.#api.askBytes(request, signal), this.signal);
  }

  /** Repeats a request until it is answered or refused, or its signal ends it. */
  async #persist<Answer>(
    ask: (signal: AbortSignal) => Promise<Answer>,
    signal: AbortSignal,
  ): Promise<Answer> {
    try {
      return await this.#api.untilAnswered(() => ask(signal), signal);
    } catch (error) {
      if (error instanceof ApiRefusal) this.#refused(error);
      throw error;
    }
  }

  /** A worker whose token was revoked, or whose job belongs to another, can do no more for the job. */
  #refused(error: unknown): void {
    this.#onProblem(`The API refuses this worker during the job ${this.job.id}.`, error);
    this.hear("lost");
  }

  #path(rest: string): string {
    return `${pathOf(this.job.id, this.job.attempt)}${rest}`;
  }
}

const pathOf = (id: string, attempt: number): string => `/jobs/${id}/attempts/${attempt}`;
