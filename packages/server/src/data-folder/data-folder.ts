import { existsSync } from "node:fs";
import { access, constants, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lockFolder } from "./lock.js";
import { Reserve } from "./reserve.js";

/** The folder that holds everything a server keeps. One process uses it at a time. */
export class DataFolder {
  readonly path: string;
  readonly reserve: Reserve;
  readonly #unlock: () => void;

  private constructor(path: string, unlock: () => void) {
    this.path = path;
    this.reserve = new Reserve(join(path, "reserve"));
    this.#unlock = unlock;
  }

  /**
   * Creates the folder if it is missing, and locks it until {@link close} or the end of this process.
   * @throws {ServiceError} `unavailable` if another process uses it.
   */
  static async open(path: string): Promise<DataFolder> {
    // For a folder that it cannot make, or a file in it, the system may give a misleading reason.
    await access(existingPart(path), constants.W_OK);
    // Prompts and pictures are private.
    await mkdir(path, { recursive: true, mode: 0o700 });
    const folder = new DataFolder(path, lockFolder(path));
    await folder.reserve.restore();
    return folder;
  }

  get ledgerFile(): string {
    return ledgerFileIn(this.path);
  }

  get filesFolder(): string {
    return filesFolderIn(this.path);
  }

  get checkpointsFolder(): string {
    return join(this.path, "checkpoints");
  }

  close(): void {
    this.#unlock();
  }
}

export const ledgerFileIn = (folder: string): string => join(folder, "ledger.db");
export const filesFolderIn = (folder: string): string => join(folder, "files");

/** The path itself if it exists, or the nearest folder above that does. */
const existingPart = (path: string): string => (existsSync(path) ? path : existingPart(dirname(path)));
