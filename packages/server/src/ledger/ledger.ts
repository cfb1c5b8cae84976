import { Connection } from "./database.js";
import { Durations } from "./durations.js";
import { Events } from "./events.js";
import { Files } from "./files.js";
import { ImageRequests } from "./image-requests.js";
import { Jobs } from "./jobs.js";
import { Settings } from "./settings.js";
import { Workers } from "./workers.js";

/** The record of everything that clients were told. It is authoritative; queues and processes come and go. */
export class Ledger {
  readonly #database: Connection;
  readonly jobs: Jobs;
  readonly events: Events;
  readonly files: Files;
  readonly workers: Workers;
  readonly settings: Settings;
  readonly durations: Durations;
  readonly imageRequests: ImageRequests;
  readonly #onDiskFull: () => void;

  /**
   * @param onDiskFull makes room, after which a write is tried once more.
   * @throws {ServiceError} `unavailable` if the ledger cannot be used.
   */
  constructor(file: string, onDiskFull: () => void) {
    const database = Connection.open(file);
    this.#database = database;
    this.#onDiskFull = onDiskFull;
    this.jobs = new Jobs(database);
    this.events = new Events(database);
    this.files = new Files(database);
    this.workers = new Workers(database);
    this.settings = new Settings(database);
    this.durations = new Durations(database);
    this.imageRequests = new ImageRequests(database);
  }

  /**
   * Does some writes together or not at all. When it returns, they are on the disk.
   * @throws what `work` throws.
   */
  write<T>(work: () => T): T {
    try {
      return this.#database.transaction(work);
    } catch (error) {
      this.events.forgetReservation();
      if ((error as { code?: string }).code !== "SQLITE_FULL") throw error;
      this.#onDiskFull();
      return this.#database.transaction(work);
    }
  }

  /** Checks that the ledger answers. @throws SQLite's error. */
  check(): void {
    this.#database.prepare("SELECT 1 FROM settings LIMIT 1").get();
  }

  /** Writes a consistent copy while others read and write. */
  async copyTo(file: string): Promise<void> {
    await this.#database.copyTo(file);
  }

  close(): void {
    this.#database.close();
  }
}
