import { existsSync, rmSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { ServiceError } from "../errors.js";
import { isDiskFull, writeDurably } from "./durable-file.js";

/** Enough for thousands of failed jobs in the ledger and its journal. */
const reserveBytes = 8 * 2 ** 20;

/** Enough for a small picture or a few jobs. */
const leastRoom = 2 ** 18;

/** The error for a full disk. */
export const diskFull = (cause?: unknown): ServiceError =>
  new ServiceError(
    "disk_full",
    "The disk of the server is full; delete jobs or free some space, then try again.",
    { cause, retryAfterSeconds: 60 },
  );

/** A file that is deleted when the disk is full, so that the ledger can still record what happened. */
export class Reserve {
  readonly #path: string;
  #making: Promise<boolean> | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** Whether the reserve file exists. */
  get held(): boolean {
    return existsSync(this.#path);
  }

  /** Gives up the space. */
  spend(): void {
    rmSync(this.#path, { force: true });
  }

  /**
   * Creates the reserve again if the disk has space.
   * @returns whether it is held now.
   */
  async restore(): Promise<boolean> {
    if (this.held) return true;
    this.#making ??= this.#make().finally(() => {
      this.#making = null;
    });
    return this.#making;
  }

  /** Whether files can be stored: the reserve is held, and the disk has room for a small file. */
  async hasRoom(): Promise<boolean> {
    if (!(await this.restore())) return false;
    const { bavail, bsize } = await statfs(dirname(this.#path));
    return bavail * bsize >= leastRoom;
  }

  async #make(): Promise<boolean> {
    try {
      await writeDurably(this.#path, [Buffer.alloc(reserveBytes)]);
      return true;
    } catch (error) {
      if (isDiskFull(error)) return false;
      throw error;
    }
  }
}
