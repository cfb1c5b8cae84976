import type { ErrorObject, JobKind, JobState, JsonOptions } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { Connection } from "./database.js";
import { searchText, searchWords } from "./search-text.js";

/** A job as the ledger has it. Times are milliseconds since 1970. */
export interface JobRecord {
  /** Grows with each job; jobs of one priority start in this order. */
  readonly arrival: number;
  readonly id: string;
  readonly kind: JobKind;
  readonly state: JobState;
  readonly cancelRequested: boolean;
  readonly priority: number;
  readonly starred: boolean;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  /** The number of the current or last attempt; 0 before the first. */
  readonly attempt: number;
  /** Crashes of the engine in a row without a new checkpoint. */
  readonly crashes: number;
  readonly step: number;
  readonly steps: number | null;
  readonly seed: number | null;
  readonly request: JsonOptions;
  readonly load: JsonOptions;
  /** Equal for jobs that can share a loaded model. */
  readonly model: string;
  readonly previewEvery: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  readonly error: ErrorObject | null;
  readonly worker: string | null;
  readonly bodyHash: string | null;
}

/** The facts about a job that is submitted. */
export interface NewJob
  extends Pick<
    JobRecord,
    | "id"
    | "kind"
    | "priority"
    | "createdAt"
    | "steps"
    | "seed"
    | "request"
    | "load"
    | "model"
    | "previewEvery"
    | "metadata"
    | "warnings"
    | "bodyHash"
  > {
  readonly idempotencyKey: string | null;
}

/** What decides when a job starts, and who runs it. */
export type JobPlace = Pick<JobRecord, "id" | "priority" | "arrival" | "model" | "attempt" | "worker">;

export type FinalState = Extract<JobState, "succeeded" | "failed" | "cancelled">;

/** How an attempt ended without ending its job. */
export type Interruption = "crashed" | "interrupted";

/** An attempt as the ledger has it. */
export interface AttemptEntry {
  readonly worker: string;
  /** Null while it runs. */
  readonly outcome: FinalState | Interruption | null;
}

export interface JobQuery {
  readonly states?: readonly JobState[] | undefined;
  readonly kind?: JobKind | undefined;
  readonly starred?: boolean | undefined;
  readonly q?: string | undefined;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

interface Row {
  readonly arrival: number;
  readonly id: string;
  readonly kind: JobKind;
  readonly state: JobState;
  readonly cancel_requested: number;
  readonly priority: number;
  readonly starred: number;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly attempt: number;
  readonly crashes: number;
  readonly step: number;
  readonly steps: number | null;
  readonly seed: number | null;
  readonly request: string;
  readonly load: string;
  readonly model: string;
  readonly preview_every: number;
  readonly metadata: string;
  readonly warnings: string;
  readonly error: string | null;
  readonly worker: string | null;
  readonly body_hash: string | null;
}

/** As many jobs as are read at once. */
const pageSize = 256;

const columns = `arrival, id, kind, state, cancel_requested, priority, starred, created_at, started_at, finished_at,
  attempt, crashes, step, steps, seed, request, load, model, preview_every, metadata, warnings, error, worker, body_hash`;

/** The table of jobs. Whatever an attempt records is dropped unless it is the current one. */
export class Jobs {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  /** @returns the job's arrival. */
  insert(job: NewJob): number {
    const { prompt } = job.request;
    const { lastInsertRowid } = this.#database
      .prepare(
        `INSERT INTO jobs (id, kind, state, priority, created_at, steps, seed, request, load, model, preview_every,
           metadata, warnings, search_text, idempotency_key, body_hash)
         VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        job.id,
        job.kind,
        job.priority,
        job.createdAt,
        job.steps,
        job.seed,
        JSON.stringify(job.request),
        JSON.stringify(job.load),
        job.model,
        job.previewEvery,
        JSON.stringify(job.metadata),
        JSON.stringify(job.warnings),
        typeof prompt === "string" ? searchText(prompt) : "",
        job.idempotencyKey,
        job.bodyHash,
      );
    return Number(lastInsertRowid);
  }

  find(id: string): JobRecord | null {
    const row = this.#database.prepare(`SELECT ${columns} FROM jobs WHERE id = ?`).get(id);
    return row ? recordOf(row as Row) : null;
  }

  findByKey(key: string): JobRecord | null {
    const row = this.#database.prepare(`SELECT ${columns} FROM jobs WHERE idempotency_key = ?`).get(key);
    return row ? recordOf(row as Row) : null;
  }

  /**
   * A page of jobs, newest first.
   * @throws {ServiceError} `invalid_cursor` for a cursor that no page returned.
   */
  page(query: JobQuery): { readonly jobs: readonly JobRecord[]; readonly nextCursor: string | null } {
    const { states, kind, starred, q = "", limit, cursor } = query;
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const require = (condition: string, ...given: (string | number)[]): void => {
      conditions.push(condition);
      values.push(...given);
    };
    if (states?.length) require(`state IN (${states.map(() => "?").join(", ")})`, ...states);
    if (kind) require("kind = ?", kind);
    if (starred !== undefined) require("starred = ?", Number(starred));
    for (const word of searchWords(q)) require("instr(search_text, ?) > 0", word);
    if (cursor !== undefined) require("arrival < ?", arrivalOf(cursor));
    const where = conditions.length > 0 ? `WHERE ${conditions.join(" AND ")}` : "";
    const rows = this.#database
      .prepare(`SELECT ${columns} FROM jobs ${where} ORDER BY arrival DESC LIMIT ?`)
      .all(...values, limit + 1) as Row[];
    const jobs = rows.slice(0, limit).map(recordOf);
    return { jobs, nextCursor: rows.length > limit ? cursorOf(jobs.at(-1)!.arrival) : null };
  }

  /** The number of jobs in each state. */
  counts(): Record<JobState, number> {
    const rows = this.#database.prepare("SELECT state, count(*) AS n FROM jobs GROUP BY state").all() as {
      state: JobState;
      n: number;
    }[];
    const none = { queued: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 };
    return Object.assign(none, Object.fromEntries(rows.map(({ state, n }) => [state, n])));
  }

  /** The number of jobs in a state. */
  count(state: JobState): number {
    return this.#database.prepareColumn("SELECT count(*) FROM jobs WHERE state = ?").get(state) as number;
  }

  /** Queued jobs in the order in which they start. */
  queued(): readonly JobRecord[] {
    return this.#inOrder("queued");
  }

  running(): readonly JobRecord[] {
    return this.#inOrder("running");
  }

  #inOrder(state: JobState): readonly JobRecord[] {
    const rows = this.#database
      .prepare(`SELECT ${columns} FROM jobs WHERE state = ? ORDER BY priority DESC, arrival`)
      .all(state) as Row[];
    return rows.map(recordOf);
  }

  /** The jobs in a state, in starting order, with the facts that determine it. Read in pages. */
  *places(state: "queued" | "running"): Generator<JobPlace> {
    const page = this.#database.prepare(
      `SELECT id, priority, arrival, model, attempt, worker FROM jobs
       WHERE state = ? AND (priority < ? OR priority = ? AND arrival > ?) ORDER BY priority DESC, arrival LIMIT ?`,
    );
    for (let last = { priority: 101, arrival: 0 }; ; ) {
      const places = page.all(state, last.priority, last.priority, last.arrival, pageSize) as JobPlace[];
      yield* places;
      if (places.length < pageSize) return;
      last = places.at(-1)!;
    }
  }

  /** The models that queued jobs are for, by key. */
  queuedModels(): readonly string[] {
    return this.#database
      .prepareColumn("SELECT DISTINCT model FROM jobs WHERE state = 'queued' ORDER BY model")
      .all() as string[];
  }

  /** Begins an attempt. @returns false if the job is not queued, or the attempt is not newer than its last. */
  start(id: string, attempt: number, worker: string, now: number): boolean {
    const started = this.#changed(
      `UPDATE jobs SET state = 'running', attempt = ?, worker = ?, started_at = coalesce(started_at, ?)
       WHERE id = ? AND state = 'queued' AND attempt < ?`,
      attempt,
      worker,
      now,
      id,
      attempt,
    );
    if (started)
      this.#database
        .prepare("INSERT INTO attempts (job_id, attempt, worker, started_at) VALUES (?, ?, ?, ?)")
        .run(id, attempt, worker, now);
    return started;
  }

  /** An attempt at a job; null if there was none of that number. */
  attempt(id: string, attempt: number): AttemptEntry | null {
    const row = this.#database
      .prepare("SELECT worker, outcome FROM attempts WHERE job_id = ? AND attempt = ?")
      .get(id, attempt);
    return (row as AttemptEntry | undefined) ?? null;
  }

  /** Records a checkpoint. @returns false for an old attempt. */
  checkpoint(id: string, attempt: number, step: number): boolean {
    return this.#changed(
      "UPDATE jobs SET step = ?, crashes = 0 WHERE id = ? AND state = 'running' AND attempt = ?",
      step,
      id,
      attempt,
    );
  }

  /** Records the step from which an attempt continues. @returns false for an old attempt. */
  setStep(id: string, attempt: number, step: number): boolean {
    return this.#changed(
      "UPDATE jobs SET step = ? WHERE id = ? AND state = 'running' AND attempt = ?",
      step,
      id,
      attempt,
    );
  }

  /** Adds a warning. @returns false for an old attempt, or a warning that the job has. */
  warn(id: string, attempt: number, message: string): boolean {
    return this.#changed(
      `UPDATE jobs SET warnings = json_insert(warnings, '$[#]', ?) WHERE id = ? AND state = 'running' AND attempt = ?
       AND NOT EXISTS (SELECT 1 FROM json_each(warnings) WHERE value = ?)`,
      message,
      id,
      attempt,
      message,
    );
  }

  /** Adds a warning to all queued jobs for a model that do not have it. @returns their ids. */
  warnQueued(model: string, message: string): readonly string[] {
    return this.#database
      .prepareColumn(
        `UPDATE jobs SET warnings = json_insert(warnings, '$[#]', ?) WHERE state = 'queued' AND model = ?
         AND NOT EXISTS (SELECT 1 FROM json_each(warnings) WHERE value = ?) RETURNING id`,
      )
      .all(message, model, message) as string[];
  }

  /** Puts a running job back into the queue, at its old place. @returns false for an old attempt. */
  interrupt(id: string, attempt: number, how: Interruption, now: number): boolean {
    const interrupted = this.#changed(
      `UPDATE jobs SET state = 'queued', crashes = crashes + ? WHERE id = ? AND state = 'running' AND attempt = ?`,
      Number(how === "crashed"),
      id,
      attempt,
    );
    if (interrupted) this.#endAttempt(id, attempt, how, now);
    return interrupted;
  }

  /** Ends a running job. @returns false for an old attempt. */
  finish(
    id: string,
    attempt: number,
    end: {
      readonly state: FinalState;
      readonly step?: number | undefined;
      readonly error: ErrorObject | null;
    },
    now: number,
  ): boolean {
    const finished = this.#changed(
      `UPDATE jobs SET state = ?, error = ?, step = coalesce(?, step), finished_at = ?
       WHERE id = ? AND state = 'running' AND attempt = ?`,
      end.state,
      end.error && JSON.stringify(end.error),
      end.step ?? null,
      now,
      id,
      attempt,
    );
    if (finished) this.#endAttempt(id, attempt, end.state, now);
    return finished;
  }

  /** Cancels a queued job. @returns false if it is not queued. */
  cancelQueued(id: string, now: number): boolean {
    return this.#changed(
      "UPDATE jobs SET state = 'cancelled', cancel_requested = 1, finished_at = ? WHERE id = ? AND state = 'queued'",
      now,
      id,
    );
  }

  /** Notes that a running job is to end. @returns false if it is not running, or that was noted before. */
  requestCancel(id: string): boolean {
    return this.#changed(
      "UPDATE jobs SET cancel_requested = 1 WHERE id = ? AND state = 'running' AND cancel_requested = 0",
      id,
    );
  }

  setStarred(id: string, starred: boolean): boolean {
    return this.#changed("UPDATE jobs SET starred = ? WHERE id = ?", Number(starred), id);
  }

  /** @returns false if the job is not queued. */
  setPriority(id: string, priority: number): boolean {
    return this.#changed("UPDATE jobs SET priority = ? WHERE id = ? AND state = 'queued'", priority, id);
  }

  /** Deletes a finished job and all that belongs to it. @returns false if it is queued, running or unknown. */
  remove(id: string): boolean {
    return this.#changed("DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", id);
  }

  /** The oldest finished job that is not starred and ended before a time. */
  oldestFinished(before: number): string | null {
    const id = this.#database
      .prepareColumn(
        `SELECT id FROM jobs WHERE finished_at IS NOT NULL AND finished_at < ? AND starred = 0
         ORDER BY finished_at, arrival LIMIT 1`,
      )
      .get(before);
    return (id as string | undefined) ?? null;
  }

  #endAttempt(id: string, attempt: number, outcome: FinalState | Interruption, now: number): void {
    this.#database
      .prepare("UPDATE attempts SET ended_at = ?, outcome = ? WHERE job_id = ? AND attempt = ?")
      .run(now, outcome, id, attempt);
  }

  #changed(sql: string, ...values: readonly (string | number | null)[]): boolean {
    return this.#database.prepare(sql).run(...values).changes > 0;
  }
}

const recordOf = (row: Row): JobRecord => ({
  arrival: row.arrival,
  id: row.id,
  kind: row.kind,
  state: row.state,
  cancelRequested: row.cancel_requested === 1,
  priority: row.priority,
  starred: row.starred === 1,
  createdAt: row.created_at,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  attempt: row.attempt,
  crashes: row.crashes,
  step: row.step,
  steps: row.steps,
  seed: row.seed,
  request: JSON.parse(row.request),
  load: JSON.parse(row.load),
  model: row.model,
  previewEvery: row.preview_every,
  metadata: JSON.parse(row.metadata),
  warnings: JSON.parse(row.warnings),
  error: row.error === null ? null : JSON.parse(row.error),
  worker: row.worker,
  bodyHash: row.body_hash,
});

const cursorOf = (arrival: number): string => Buffer.from(`jobs:${arrival}`).toString("base64url");

function arrivalOf(cursor: string): number {
  const [, digits] = /^jobs:([1-9]\d{0,15})$/.exec(Buffer.from(cursor, "base64url").toString()) ?? [];
  if (digits === undefined)
    throw new ServiceError(
      "invalid_cursor",
      "This cursor did not come from a page of jobs; pass a next_cursor unchanged, or leave it out.",
      { param: "cursor" },
    );
  return Number(digits);
}
