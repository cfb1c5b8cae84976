import type { ScoreObject } from "../contract/index.js";
import type { Connection } from "./database.js";

/** What is known of a stored picture. */
export interface PictureFacts {
  /** 64 hexadecimal digits. */
  readonly sha256: string;
  readonly mime: string;
  readonly width: number;
  readonly height: number;
  readonly bytes: number;
}

/** A file that a job made. */
export interface ArtifactRecord extends PictureFacts {
  /** "image-1", "image-2" …, "depth", or "depth-values"; "candidate-1" … before images are ranked. */
  readonly name: string;
  readonly seed: number | null;
  readonly score: ScoreObject | null;
}

/** The tables that say why a stored file is kept: uploaded blobs with their uses, and artifacts. */
export class Files {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  /**
   * Records a picture, new or seen before.
   * @param touchedAt when it was uploaded; 0 for one that came inside a request and stays only while a job uses it.
   * @returns whether it is new.
   */
  addBlob({ sha256, mime, width, height, bytes }: PictureFacts, touchedAt: number): boolean {
    const known = this.findBlob(sha256) !== null;
    this.#database
      .prepare(
        `INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET touched_at = max(touched_at, excluded.touched_at)`,
      )
      .run(sha256, mime, width, height, bytes, touchedAt);
    return !known;
  }

  findBlob(sha256: string): PictureFacts | null {
    const row = this.#database
      .prepare("SELECT sha256, mime, width, height, bytes FROM blobs WHERE sha256 = ?")
      .get(sha256);
    return (row as PictureFacts | undefined) ?? null;
  }

  useBlob(jobId: string, sha256: string): void {
    this.#database.prepare("INSERT OR IGNORE INTO blob_uses VALUES (?, ?)").run(jobId, sha256);
  }

  /** Whether a job uses a blob. */
  usesBlob(jobId: string, sha256: string): boolean {
    return (
      this.#database.prepare("SELECT 1 FROM blob_uses WHERE job_id = ? AND sha256 = ?").get(jobId, sha256) !==
      undefined
    );
  }

  /** Notes that the blobs of a job lose a use: their time to live starts now. */
  releaseBlobs(jobId: string, now: number): void {
    this.#database
      .prepare(
        `UPDATE blobs SET touched_at = max(touched_at, ?)
         WHERE sha256 IN (SELECT sha256 FROM blob_uses WHERE job_id = ?)`,
      )
      .run(now, jobId);
  }

  /**
   * Forgets blobs that no job uses and that were last touched before a time.
   * @param kept hashes to keep regardless.
   * @returns their hashes.
   */
  expireBlobs(before: number, kept: readonly string[] = []): readonly string[] {
    return this.#database
      .prepareColumn(
        `DELETE FROM blobs WHERE touched_at < ?
         AND NOT EXISTS (SELECT 1 FROM blob_uses WHERE blob_uses.sha256 = blobs.sha256)
         AND sha256 NOT IN (SELECT value FROM json_each(?)) RETURNING sha256`,
      )
      .all(before, JSON.stringify(kept)) as string[];
  }

  /** Forgets a blob that came inside a request, unless a job uses it or it was uploaded. @returns whether it was forgotten. */
  forgetLent(sha256: string): boolean {
    return (
      this.#database
        .prepare(
          `DELETE FROM blobs WHERE sha256 = ? AND touched_at = 0
           AND NOT EXISTS (SELECT 1 FROM blob_uses WHERE blob_uses.sha256 = blobs.sha256)`,
        )
        .run(sha256).changes > 0
    );
  }

  addArtifact(jobId: string, artifact: ArtifactRecord): void {
    const { name, sha256, mime, width, height, bytes, seed, score } = artifact;
    this.#database
      .prepare("INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(jobId, name, sha256, mime, width, height, bytes, seed, score && JSON.stringify(score));
  }

  /** Forgets the artifacts of a job. */
  removeArtifacts(jobId: string): void {
    this.#database.prepare("DELETE FROM artifacts WHERE job_id = ?").run(jobId);
  }

  /** The artifacts of a job, by name. */
  artifactsOf(jobId: string): readonly ArtifactRecord[] {
    const rows = this.#database
      .prepare(
        "SELECT name, sha256, mime, width, height, bytes, seed, score FROM artifacts WHERE job_id = ? ORDER BY name",
      )
      .all(jobId) as (Omit<ArtifactRecord, "score"> & { readonly score: string | null })[];
    return rows.map(({ score, ...facts }) => ({
      ...facts,
      score: score === null ? null : JSON.parse(score),
    }));
  }

  /** Whether anything still needs a stored file. */
  isNeeded(sha256: string): boolean {
    return (
      this.#database
        .prepare(
          `SELECT 1 WHERE EXISTS (SELECT 1 FROM blobs WHERE sha256 = ?)
             OR EXISTS (SELECT 1 FROM artifacts WHERE sha256 = ?)`,
        )
        .get(sha256, sha256) !== undefined
    );
  }

  /** All stored files that anything needs. */
  needed(): readonly string[] {
    return this.#database
      .prepareColumn("SELECT sha256 FROM blobs UNION SELECT sha256 FROM artifacts")
      .all() as string[];
  }

  /** The bytes of the files of jobs, each file counted once. */
  bytesOfJobs(): number {
    return this.#database
      .prepareColumn(
        `SELECT coalesce(sum(bytes), 0) FROM (SELECT sha256, bytes FROM artifacts
           UNION SELECT blobs.sha256, bytes FROM blobs JOIN blob_uses USING (sha256))`,
      )
      .get() as number;
  }
}
