import { randomUUID } from "node:crypto";
import type { Connection } from "./database.js";

/** The settings that a server stores. */
export class Settings {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  /** Whether the queue is paused. */
  get paused(): boolean {
    return this.#get<number>("paused") === 1;
  }

  set paused(paused: boolean) {
    this.#set("paused", Number(paused));
  }

  /** Identifies this ledger; its copies have the same id. */
  get ledgerId(): string {
    this.#database
      .prepare("INSERT INTO settings VALUES ('ledger_id', ?) ON CONFLICT DO NOTHING")
      .run(randomUUID());
    return this.#get<string>("ledger_id")!;
  }

  /** Until when a backup of another process reads the stored files, in milliseconds since 1970. */
  get backupUntil(): number {
    return this.#get<number>("backup_until") ?? 0;
  }

  /** Lets a backup read the stored files until a time. */
  holdFiles(until: number): void {
    this.#set("backup_until", until);
  }

  #get<Value extends number | string>(name: string): Value | null {
    const value = this.#database.prepareColumn("SELECT value FROM settings WHERE name = ?").get(name);
    return (value as Value | undefined) ?? null;
  }

  #set(name: string, value: number): void {
    this.#database
      .prepare("INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
      .run(name, value);
  }
}
