import type { Connection } from "./database.js";

export interface WorkerRecord {
  readonly id: string;
  readonly draining: boolean;
  readonly device: string;
  readonly memoryBytes: number;
  /** Milliseconds since 1970. */
  readonly lastSeen: number;
}

const columns = "id, draining, device, memory_bytes, last_seen";

/** The table of workers. */
export class Workers {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  /** Records that a worker is alive. A draining worker stays so. */
  see({ id, device, memoryBytes, lastSeen }: Omit<WorkerRecord, "draining">): void {
    this.#database
      .prepare(
        `INSERT INTO workers (id, device, memory_bytes, last_seen) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
         SET device = excluded.device, memory_bytes = excluded.memory_bytes, last_seen = excluded.last_seen`,
      )
      .run(id, device, memoryBytes, lastSeen);
  }

  /** @returns false if there is no such worker. */
  setDraining(id: string, draining: boolean): boolean {
    return (
      this.#database.prepare("UPDATE workers SET draining = ? WHERE id = ?").run(Number(draining), id)
        .changes > 0
    );
  }

  /** Forgets workers that were last seen before a time. */
  forget(before: number): void {
    this.#database.prepare("DELETE FROM workers WHERE last_seen < ?").run(before);
  }

  find(id: string): WorkerRecord | null {
    const row = this.#database.prepare(`SELECT ${columns} FROM workers WHERE id = ?`).get(id);
    return row ? recordOf(row as Row) : null;
  }

  all(): readonly WorkerRecord[] {
    const rows = this.#database.prepare(`SELECT ${columns} FROM workers ORDER BY id`).all() as Row[];
    return rows.map(recordOf);
  }
}

interface Row {
  readonly id: string;
  readonly draining: number;
  readonly device: string;
  readonly memory_bytes: number;
  readonly last_seen: number;
}

const recordOf = ({ id, draining, device, memory_bytes, last_seen }: Row): WorkerRecord => ({
  id,
  draining: draining === 1,
  device,
  memoryBytes: memory_bytes,
  lastSeen: last_seen,
});
