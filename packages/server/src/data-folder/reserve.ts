import { existsSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { isDiskFull, writeDurably } from "./durable-file.js";

/** Room for thousands of failed jobs in the ledger and its journal. */
const reserveBytes = 8 * 2 ** 20;

/** A file that is deleted when the disk is full, so that the ledger can still record what happened. */
export class Reserve {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Whether the disk had room for it. */
  get held(): boolean {
    return existsSync(this.#path);
  }

  /** Gives its room to others. */
  spend(): void {
    rmSync(this.#path, { force: true });
  }

  /**
   * Makes it again where the disk has room.
   * @returns whether it is held now.
   */
  async restore(): Promise<boolean> {
    if (this.held) return true;
    try {
      await writeDurably(this.#path, [Buffer.alloc(reserveBytes)]);
      return true;
    } catch (error) {
      await rm(this.#path, { force: true });
      if (isDiskFull(error)) return false;
      throw error;
    }
  }
}
