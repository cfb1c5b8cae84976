import { createHash, randomUUID } from "node:crypto";
import { createReadStream, rmSync } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDiskFull, syncFolder } from "../data-folder/durable-file.js";
import { diskFull, type Reserve } from "../data-folder/reserve.js";
import { ServiceError } from "../errors.js";

/** A file that {@link FileStore.add} stored. It is kept at least until it is disposed. */
export interface StoredFile extends Disposable {
  /** 64 hexadecimal digits: the name of the content. */
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * Files by the SHA-256 of their content. Files are written under a temporary name, synced and renamed, and checked on
 * every read. The ledger says which are needed; {@link collect} deletes the others.
 */
export class FileStore {
  readonly #folder: string;
  readonly #reserve: Reserve;
  /** The number of holders of files that the ledger may not know yet. */
  readonly #held = new Map<string, number>();

  /**
   * @param folder created if it is missing.
   * @param reserve space that files must leave for the ledger.
   */
  constructor(folder: string, reserve: Reserve) {
    this.#folder = folder;
    this.#reserve = reserve;
  }

  get #incoming(): string {
    return join(this.#folder, "incoming");
  }

  /** Creates the folder, and deletes the partial files of a killed process. */
  async open(): Promise<void> {
    await rm(this.#incoming, { recursive: true, force: true });
    await mkdir(this.#incoming, { recursive: true, mode: 0o700 });
  }

  /** Where a file is, or would be. */
  pathOf(sha256: string): string {
    return join(this.#folder, pathInStore(sha256));
  }

  /**
   * Stores content as it arrives. It is on the disk when the promise resolves.
   * @param limit the maximum number of bytes.
   * @throws {ServiceError} `image_too_large` beyond the limit, `disk_full`. In both cases, nothing is left behind.
   * @throws the error of the source.
   */
  async add(
    source: Uint8Array | AsyncIterable<Uint8Array>,
    { limit = Number.POSITIVE_INFINITY } = {},
  ): Promise<StoredFile> {
    if (!(await this.#reserve.restore())) throw diskFull();
    const aside = join(this.#incoming, randomUUID());
    try {
      const { sha256, bytes } = await writeHashed(aside, source, limit);
      const held = this.#hold(sha256, bytes);
      try {
        await this.#place(aside, sha256);
        return held;
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
    } catch (error) {
      await rm(aside, { force: true });
      if (isDiskFull(error)) throw diskFull(error);
      throw error;
    }
  }

  /**
   * Reads a file and checks it.
   * @throws {ServiceError} `damaged_file` if its content has changed or it is missing.
   */
  async read(sha256: string): Promise<Uint8Array> {
    const hash = createHash("sha256");
    const parts: Buffer[] = [];
    try {
      for await (const part of createReadStream(this.pathOf(sha256), { highWaterMark: 2 ** 20 })) {
        hash.update(part);
        parts.push(part);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      throw new ServiceError("damaged_file", "A stored file is missing; restore it from a backup.", {
        cause: error,
      });
    }
    if (hash.digest("hex") !== sha256)
      throw new ServiceError(
        "damaged_file",
        "A stored file is damaged; restore it from a backup, or upload it again.",
      );
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** Keeps an existing file at least until the result is disposed. @returns null if there is no such file. */
  async hold(sha256: string): Promise<StoredFile | null> {
    const held = this.#hold(sha256, 0);
    const facts = await stat(this.pathOf(sha256)).catch(() => null);
    if (facts) return { ...held, bytes: facts.size };
    held[Symbol.dispose]();
    return null;
  }

  /**
   * Deletes those candidates that are not needed.
   * @param isNeeded asked right before each deletion.
   */
  collect(candidates: Iterable<string>, isNeeded: (sha256: string) => boolean): void {
    for (const sha256 of candidates)
      if (!this.#held.has(sha256) && !isNeeded(sha256)) rmSync(this.pathOf(sha256), { force: true });
  }

  /** The hashes of all stored files. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(this.#folder, { recursive: true });
    return names.map((name) => name.slice(-64)).filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  #hold(sha256: string, bytes: number): StoredFile {
    this.#held.set(sha256, (this.#held.get(sha256) ?? 0) + 1);
    let released = false;
    return {
      sha256,
      bytes,
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        const left = this.#held.get(sha256)! - 1;
        if (left === 0) this.#held.delete(sha256);
        else this.#held.set(sha256, left);
      },
    };
  }

  /** Gives a file its name. Replaces an existing one, which may be damaged. */
  async #place(aside: string, sha256: string): Promise<void> {
    const path = this.pathOf(sha256);
    const parent = dirname(path);
    if (!(await stat(parent).catch(() => null))) {
      await mkdir(parent, { recursive: true, mode: 0o700 });
      await syncFolder(this.#folder);
    }
    await rename(aside, path);
    await syncFolder(parent);
  }
}

/** A file's path below the folder of the store. */
export const pathInStore = (sha256: string): string => join(sha256.slice(0, 2), sha256);

async function writeHashed(
  path: string,
  source: Uint8Array | AsyncIterable<Uint8Array>,
  limit: number,
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash("sha256");
  let bytes = 0;
  const handle = await open(path, "wx", 0o600);
  try {
    for await (const part of source instanceof Uint8Array ? [source] : source) {
      bytes += part.byteLength;
      if (bytes > limit)
        throw new ServiceError(
          "image_too_large",
          `The picture has more than ${Math.floor(limit / 2 ** 20)} MiB; send a smaller one.`,
        );
      hash.update(part);
      await handle.writeFile(part);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { sha256: hash.digest("hex"), bytes };
}
