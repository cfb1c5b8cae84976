import type { Connection } from "./database.js";

/** An event that the ledger keeps. Events that tell about a job as a whole hold no data: the job is read again. */
export interface EventRecord {
  readonly id: number;
  readonly jobId: string | null;
  readonly name: string;
  readonly attempt: number;
  readonly data: unknown;
}

/** Ids that are set aside at once, so that most events need no write for their id. */
const block = 1000;

/** Events that concern no single job's history are kept for clients that reconnect, up to this number. */
const keptStreamEvents = 10_000;

/**
 * The durable events of all jobs, and the source of event ids. One sequence serves all streams, so ids grow in each of
 * them. It never goes back: after a restart it continues behind every id that may have been given out.
 */
export class Events {
  readonly #database: Connection;
  #next: number;
  #reserved: number;

  constructor(database: Connection) {
    this.#database = database;
    const reserved = database.prepareColumn("SELECT value FROM settings WHERE name = 'event_ids'").get();
    this.#reserved = typeof reserved === "number" ? reserved : 1;
    this.#next = this.#reserved;
  }

  /** The id for a new event. */
  nextId(): number {
    if (this.#next >= this.#reserved) {
      const reserved = this.#next + block;
      this.#database
        .prepare(
          "INSERT INTO settings VALUES ('event_ids', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        )
        .run(reserved);
      this.#reserved = reserved;
    }
    return this.#next++;
  }

  /** Reserves again: the write that reserved ids was rolled back. */
  forgetReservation(): void {
    this.#reserved = this.#next;
  }

  insert({ id, jobId, name, attempt, data }: EventRecord): void {
    this.#database
      .prepare("INSERT INTO events VALUES (?, ?, ?, ?, ?)")
      .run(id, jobId, name, attempt, JSON.stringify(data));
  }

  /** Events of a job after an id, oldest first. */
  ofJob(jobId: string, after: number): readonly EventRecord[] {
    return this.#records("WHERE job_id = ? AND id > ? AND name <> 'updated' ORDER BY id", jobId, after);
  }

  /** Events of all jobs and of the queue after an id, oldest first. */
  ofAll(after: number, limit: number): readonly EventRecord[] {
    return this.#records("WHERE id > ? ORDER BY id LIMIT ?", after, limit);
  }

  /** Drops all but the latest of the events that only the stream of all jobs has. */
  prune(): void {
    this.#database
      .prepare(
        `DELETE FROM events WHERE name IN ('updated', 'deleted', 'queue') AND id <=
           (SELECT id FROM events WHERE name IN ('updated', 'deleted', 'queue') ORDER BY id DESC LIMIT 1 OFFSET ?)`,
      )
      .run(keptStreamEvents);
  }

  #records(clause: string, ...values: readonly (string | number)[]): readonly EventRecord[] {
    const rows = this.#database
      .prepare(`SELECT id, job_id, name, attempt, data FROM events ${clause}`)
      .all(...values) as { id: number; job_id: string | null; name: string; attempt: number; data: string }[];
    return rows.map(({ id, job_id, name, attempt, data }) => ({
      id,
      jobId: job_id,
      name,
      attempt,
      data: JSON.parse(data),
    }));
  }
}
