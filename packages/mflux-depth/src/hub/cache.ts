/*
 * One repository in the cache that all of Hugging Face's libraries share: blobs/ETAG contains a file's bytes,
 * snapshots/COMMIT/PATH links to it, refs/NAME contains the commit of a branch or tag. A blob gets its name once it is
 * complete and its hash is right; until then it is ETAG.incomplete, which a later download continues.
 */
import { constants } from "node:fs";
import { open, readlink, rename, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { describeBytes } from "../bytes.js";
import { ModelError } from "../errors.js";
import { lacksLinks, replaceFile } from "../files/atomic-file.js";
import { makeFolders } from "../files/folders.js";
import type { HubClient, HubFile } from "./client.js";
import { lock } from "./lock.js";
import { PartialBlob } from "./partial-blob.js";
import { Changed } from "./refusal.js";
import { Transient } from "./retry.js";
import { cacheFolderOf } from "./settings.js";
import type { WaitListener } from "./waiting.js";

export class RepositoryCache {
  readonly #root: string;
  readonly #locks: string;
  readonly #client: HubClient;
  readonly #signal: AbortSignal | undefined;
  readonly #onWait: WaitListener | undefined;

  /** @param options.onWait called every few seconds while another process holds a file's lock. */
  constructor(
    client: HubClient,
    {
      signal,
      onWait,
    }: { readonly signal: AbortSignal | undefined; readonly onWait?: WaitListener | undefined },
  ) {
    const folder = cacheFolderOf(client.repository);
    this.#root = join(client.settings.cache, folder);
    this.#locks = join(client.settings.cache, ".locks", folder);
    this.#client = client;
    this.#signal = signal;
    this.#onWait = onWait;
  }

  /** The folder of a commit. */
  snapshot(commit: string): string {
    return join(this.#root, "snapshots", commit);
  }

  /** The number of bytes of a file in the cache. */
  async held(file: HubFile, commit: string): Promise<number> {
    for (const path of [join(this.snapshot(commit), file.path), this.#blob(file)])
      if ((await sizeOf(path)) === file.bytes) return file.bytes;
    const partial = (await sizeOf(incompletePath(this.#blob(file)))) ?? 0;
    return partial <= file.bytes ? partial : 0;
  }

  /**
   * Puts a file into a snapshot, and downloads the missing bytes. A lock keeps other processes from downloading the
   * same file meanwhile.
   * @param onBytes receives the number of bytes in the cache.
   * @throws {ModelError} if the Hub refuses, the disk is full, or the bytes do not match their hash.
   * @throws {Changed} if the file has been replaced on the Hub.
   */
  async fetch(file: HubFile, commit: string, onBytes: (held: number) => void): Promise<void> {
    const pointer = join(this.snapshot(commit), file.path);
    if ((await sizeOf(pointer)) === file.bytes) return onBytes(file.bytes);
    const blob = this.#blob(file);
    try {
      for (const folder of [dirname(blob), dirname(pointer), this.#locks]) await makeFolders(folder);
      // Small files need no lock: two processes that write the same file do no harm.
      const unlock = file.lfs
        ? await lock(join(this.#locks, `${file.etag}.lock`), {
            signal: this.#signal,
            onWait: this.#onWait,
            reportMs: this.#client.patience.reportMs,
          })
        : null;
      try {
        if ((await sizeOf(blob)) !== file.bytes) await this.#download(file, commit, blob, onBytes);
        onBytes(file.bytes);
        await linkBlob(blob, pointer);
      } finally {
        await unlock?.();
      }
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Records the commit of a branch or tag. */
  async remember(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const path = join(this.#root, "refs", revision);
    try {
      await makeFolders(dirname(path));
      await replaceFile(path, (temporary) => writeFile(temporary, commit));
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** @throws {ModelError} if the disk of the cache has less free space than `bytes`. */
  async requireSpace(bytes: number): Promise<void> {
    const { cache } = this.#client.settings;
    await makeFolders(cache).catch((error: unknown) => {
      throw this.#explain(error);
    });
    const { bavail, bsize } = await statfs(cache);
    const free = bavail * bsize;
    if (free < bytes)
      throw new ModelError(
        this.#client.repository,
        `the download needs ${describeBytes(bytes)}, but the disk of ${cache} has ${describeBytes(free)}; free some space, or set HF_HOME to a folder on another disk`,
      );
  }

  #blob(file: HubFile): string {
    return join(this.#root, "blobs", file.etag);
  }

  async #download(
    file: HubFile,
    commit: string,
    blob: string,
    onBytes: (held: number) => void,
  ): Promise<void> {
    const incomplete = incompletePath(blob);
    // Not opened for appending: without locks, two processes may write the same bytes to the same offsets.
    const handle = await open(incomplete, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      const partial = await PartialBlob.open(handle, file, this.#signal);
      const resumed = partial.bytes > 0;
      onBytes(partial.bytes);
      await this.#fill(partial, file, commit, onBytes);
      if (!partial.matchesHash() && resumed) {
        await partial.restart();
        await this.#fill(partial, file, commit, onBytes);
      }
      if (!partial.matchesHash()) {
        await partial.restart();
        throw new ModelError(
          this.#client.repository,
          `the content of ${file.path} does not match its hash; it was corrupted in transit or is being replaced on the Hub; run this again`,
        );
      }
      await handle.truncate(file.bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(incomplete, blob).catch(async (error: unknown) => {
      // Without locks, another process may have finished first.
      if ((await sizeOf(blob)) !== file.bytes) throw error;
    });
  }

  /** Downloads the rest of a file, reconnecting as often as necessary. */
  async #fill(
    partial: PartialBlob,
    file: HubFile,
    commit: string,
    onBytes: (held: number) => void,
  ): Promise<void> {
    let before = partial.bytes;
    const attempt = async (): Promise<void> => {
      if (partial.bytes === file.bytes) return;
      before = partial.bytes;
      const { start, chunks } = await this.#client.open(file, commit, partial.bytes);
      let startsOver = start !== partial.bytes;
      for await (const chunk of chunks) {
        // Inside the loop, because leaving it ends the request.
        if (startsOver) await partial.restart();
        startsOver = false;
        if (partial.bytes + chunk.length > file.bytes)
          throw new Changed(`${file.path} is longer than listed`);
        await partial.append(chunk);
        onBytes(partial.bytes);
      }
      if (partial.bytes < file.bytes) throw new Transient("the connection was cut");
    };
    await this.#client.persist(attempt, { gained: () => partial.bytes > before });
  }

  /** The ModelError for an error of the file system; other errors unchanged. */
  #explain(error: unknown): unknown {
    const { code, path, syscall } = error as NodeJS.ErrnoException;
    const { cache } = this.#client.settings;
    const fail = (reason: string): ModelError =>
      new ModelError(this.#client.repository, reason, { cause: error });
    if (code === "ENOSPC" || code === "EDQUOT")
      return fail(
        `the disk of ${cache} is full; free some space, or set HF_HOME to a folder on another disk, and run this again: the download will resume where it stopped`,
      );
    if (code === "EACCES" || code === "EPERM" || code === "EROFS")
      return fail(`${path ?? cache} cannot be written (${code}); set HF_HOME to a writable folder`);
    // A dangling link, a file in the way, or a read-only disk, which Node reports in several ways.
    if (syscall === "mkdir")
      return fail(`${path ?? cache} cannot be created (${code}); set HF_HOME to a writable folder`);
    return error;
  }
}

const incompletePath = (blob: string): string => `${blob}.incomplete`;

/** Links a snapshot's file to its blob, with a relative path so that the cache can be moved. */
async function linkBlob(blob: string, pointer: string): Promise<void> {
  const target = relative(dirname(pointer), blob);
  if ((await readlink(pointer).catch(() => null)) === target) return;
  try {
    await replaceFile(pointer, (temporary) => symlink(target, temporary));
  } catch (error) {
    if (!lacksLinks(error)) throw error;
    // Without links, the snapshot gets the file itself, as with Python's library.
    await rename(blob, pointer);
  }
}

/** The size of a file, through links; null if there is none. */
const sizeOf = async (path: string): Promise<number | null> => {
  const found = await stat(path).catch(() => null);
  return found?.isFile() ? found.size : null;
};
