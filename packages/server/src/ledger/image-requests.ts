import type { Connection } from "./database.js";

/** A request for images whose client may come back for them. */
export interface ImageRequestRecord {
  /** A hash of the request. */
  readonly content: string;
  /** The ids of its jobs. */
  readonly jobs: readonly string[];
}

/** The table of image requests of OpenAI's clients. */
export class ImageRequests {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  all(): readonly ImageRequestRecord[] {
    const rows = this.#database.prepare("SELECT content, jobs FROM image_requests").all() as {
      content: string;
      jobs: string;
    }[];
    return rows.map(({ content, jobs }) => ({ content, jobs: JSON.parse(jobs) as string[] }));
  }

  /** Records a request in place of an earlier one with the same content. */
  put({ content, jobs }: ImageRequestRecord): void {
    this.#database
      .prepare("INSERT INTO image_requests VALUES (?, ?) ON CONFLICT DO UPDATE SET jobs = excluded.jobs")
      .run(content, JSON.stringify(jobs));
  }

  remove(content: string): void {
    this.#database.prepare("DELETE FROM image_requests WHERE content = ?").run(content);
  }
}
