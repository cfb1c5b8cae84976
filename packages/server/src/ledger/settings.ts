import type { Connection } from "./database.js";

/** What a server remembers about itself. */
export class Settings {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  /** Whether the queue is paused. */
  get paused(): boolean {
    return this.#get("paused") === 1;
  }

  set paused(paused: boolean) {
    this.#set("paused", Number(paused));
  }

  /** Until when a backup of another process reads the stored files, in milliseconds since 1970. */
  get backupUntil(): number {
    return this.#get("backup_until") ?? 0;
  }

  /** Lets a backup read the stored files until a time. */
  holdFiles(until: number): void {
    this.#set("backup_until", until);
  }

  #get(name: string): number | null {
    const value = this.#database.prepareColumn("SELECT value FROM settings WHERE name = ?").get(name);
    return (value as number | undefined) ?? null;
  }

  #set(name: string, value: number): void {
    this.#database
      .prepare("INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
      .run(name, value);
  }
}
