/*
 * One repository in the cache that all of Hugging Face's libraries share: blobs/ETAG holds a file's bytes,
 * snapshots/COMMIT/PATH links to it, refs/NAME says which commit a branch or tag is. A blob has its name only when it
 * is whole and its hash is right; until then it is ETAG.incomplete, where the next run goes on.
 */
import { spawn } from "node:child_process";
import { createHash, type Hash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  type FileHandle,
  mkdir,
  open,
  readlink,
  rename,
  stat,
  statfs,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describeBytes } from "../bytes.js";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { Changed, type HubClient, type HubFile, Transient } from "./client.js";
import { cacheFolderOf } from "./settings.js";

export class RepositoryCache {
  readonly #root: string;
  readonly #locks: string;
  readonly #client: HubClient;
  readonly #signal: AbortSignal | undefined;

  constructor(client: HubClient, signal: AbortSignal | undefined) {
    const folder = cacheFolderOf(client.repository);
    this.#root = join(client.settings.cache, folder);
    this.#locks = join(client.settings.cache, ".locks", folder);
    this.#client = client;
    this.#signal = signal;
  }

  snapshot(commit: string): string {
    return join(this.#root, "snapshots", commit);
  }

  /** How many bytes of a file need no download. */
  async held(file: HubFile, commit: string): Promise<number> {
    for (const path of [join(this.snapshot(commit), file.path), this.#blob(file)])
      if ((await sizeOf(path)) === file.bytes) return file.bytes;
    const partial = (await sizeOf(`${this.#blob(file)}.incomplete`)) ?? 0;
    return partial <= file.bytes ? partial : 0;
  }

  /**
   * Puts a file into a snapshot: it is there already, or its blob is, or the rest of that is downloaded. Nobody else
   * downloads it meanwhile.
   * @param onBytes told how much of the file is here.
   * @throws {ModelError} when the Hub refuses, the disk is full, or what comes is not what was listed.
   * @throws {Changed} when the file has been replaced on the Hub.
   */
  async fetch(file: HubFile, commit: string, onBytes: (held: number) => void): Promise<void> {
    const pointer = join(this.snapshot(commit), file.path);
    if ((await sizeOf(pointer)) === file.bytes) return onBytes(file.bytes);
    const blob = this.#blob(file);
    try {
      for (const folder of [dirname(blob), dirname(pointer), this.#locks]) await makeFolder(folder);
      // Small files are not worth the wait: two who write one do no harm.
      const unlock = file.lfs ? await lock(join(this.#locks, `${file.etag}.lock`), this.#signal) : null;
      try {
        if ((await sizeOf(blob)) !== file.bytes) await this.#download(file, commit, blob, onBytes);
        onBytes(file.bytes);
        await link(blob, pointer);
      } finally {
        await unlock?.();
      }
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Remembers which commit a branch or tag is. */
  async remember(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const path = join(this.#root, "refs", revision);
    try {
      await makeFolder(dirname(path));
      const beside = `${path}.${randomUUID()}`;
      await writeFile(beside, commit);
      await rename(beside, path);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** @throws {ModelError} when the disk has less than so many bytes. */
  async requireSpace(bytes: number): Promise<void> {
    const { cache } = this.#client.settings;
    await makeFolder(cache).catch((error: unknown) => {
      throw this.#explain(error);
    });
    const { bavail, bsize } = await statfs(cache);
    const free = bavail * bsize;
    if (free < bytes)
      throw new ModelError(
        this.#client.repository,
        `the download needs ${describeBytes(bytes)} and the disk of ${cache} has ${describeBytes(free)}; make room, or set HF_HOME to a folder on another disk`,
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
    const incomplete = `${blob}.incomplete`;
    // Not opened for appending: wherever locks do not hold, two who write the same bytes to the same place do no harm.
    const handle = await open(incomplete, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      const partial = await Partial.open(handle, file, this.#signal);
      const resumed = partial.bytes > 0;
      onBytes(partial.bytes);
      await this.#fill(partial, file, commit, onBytes);
      if (!partial.isRight() && resumed) {
        await partial.restart();
        await this.#fill(partial, file, commit, onBytes);
      }
      if (!partial.isRight()) {
        await partial.restart();
        throw new ModelError(
          this.#client.repository,
          `${file.path} came with another content than its hash says; it was damaged on the way, or somebody changes it: run this again`,
        );
      }
      await handle.truncate(file.bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(incomplete, blob).catch(async (error: unknown) => {
      // Where locks do not hold, somebody else may have been first.
      if ((await sizeOf(blob)) !== file.bytes) throw error;
    });
  }

  /** Reads the rest of a file, in as many connections as it takes. */
  async #fill(
    partial: Partial,
    file: HubFile,
    commit: string,
    onBytes: (held: number) => void,
  ): Promise<void> {
    let before = partial.bytes;
    const attempt = async (): Promise<void> => {
      if (partial.bytes === file.bytes) return;
      before = partial.bytes;
      const { start, chunks } = await this.#client.open(file, commit, partial.bytes);
      if (start !== partial.bytes) await partial.restart();
      for await (const chunk of chunks) {
        if (partial.bytes + chunk.length > file.bytes)
          throw new Changed(`${file.path} is longer than was listed`);
        await partial.add(chunk);
        onBytes(partial.bytes);
      }
      if (partial.bytes < file.bytes) throw new Transient("the connection was cut");
    };
    await this.#client.persist(attempt, { gained: () => partial.bytes > before });
  }

  /** A sentence for what the disk refuses. */
  #explain(error: unknown): unknown {
    const { code, path, syscall } = error as NodeJS.ErrnoException;
    const { cache } = this.#client.settings;
    const fail = (reason: string): ModelError =>
      new ModelError(this.#client.repository, reason, { cause: error });
    if (code === "ENOSPC" || code === "EDQUOT")
      return fail(
        `the disk of ${cache} is full; make room, or set HF_HOME to a folder on another disk, and run this again: the download goes on where it stopped`,
      );
    if (code === "EACCES" || code === "EPERM" || code === "EROFS")
      return fail(`${path ?? cache} cannot be written (${code}); set HF_HOME to a folder that can`);
    // A link to a disk that is not there; a file in the way; and so Node tells of disks that are read-only.
    if (syscall === "mkdir")
      return fail(`${path ?? cache} cannot be made (${code}); set HF_HOME to a folder that can be written`);
    return error;
  }
}

/** The part of a file that is here, and its hash so far. */
class Partial {
  readonly #handle: FileHandle;
  readonly #file: HubFile;
  #hash: Hash;
  #bytes = 0;

  private constructor(handle: FileHandle, file: HubFile) {
    this.#handle = handle;
    this.#file = file;
    this.#hash = hashFor(file);
  }

  static async open(handle: FileHandle, file: HubFile, signal: AbortSignal | undefined): Promise<Partial> {
    const partial = new Partial(handle, file);
    const { size } = await handle.stat();
    if (size > file.bytes) await partial.restart();
    else await partial.#read(size, signal);
    return partial;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async add(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await this.#handle.write(chunk, done, chunk.length - done, this.#bytes + done);
      done += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#hash = hashFor(this.#file);
    this.#bytes = 0;
  }

  isRight(): boolean {
    return this.#hash.copy().digest("hex") === this.#file.etag;
  }

  async #read(size: number, signal: AbortSignal | undefined): Promise<void> {
    const buffer = Buffer.alloc(Math.min(size, 1 << 20));
    while (this.#bytes < size) {
      signal?.throwIfAborted();
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, this.#bytes);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#bytes += bytesRead;
    }
  }
}

/** LFS knows a file by its SHA-256; git by the SHA-1 of its content behind a header. */
const hashFor = ({ lfs, bytes }: HubFile): Hash =>
  lfs ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);

/** Links relatively, so that the cache can be moved. */
async function link(blob: string, pointer: string): Promise<void> {
  const target = relative(dirname(pointer), blob);
  if ((await readlink(pointer).catch(() => null)) === target) return;
  const beside = `${pointer}.${randomUUID()}`;
  try {
    await symlink(target, beside);
    await rename(beside, pointer);
  } catch (error) {
    // A file system without links gets the file itself, as from Python.
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes((error as NodeJS.ErrnoException).code ?? ""))
      throw error;
    await rename(blob, pointer);
  }
}

/**
 * Takes the lock that Python's library takes too, `flock`, or waits for it. Node has no such call: on macOS and BSD
 * opening a file can take it, on Linux the tool `flock` takes it for the file that we hold open. It ends with the
 * process that holds it. Where there is neither, there is no lock.
 */
async function lock(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  // O_EXLOCK, which Node does not name.
  const whileOpening = ["darwin", "freebsd", "openbsd"].includes(process.platform)
    ? 0x20 | constants.O_NONBLOCK
    : 0;
  for (;;) {
    signal?.throwIfAborted();
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | whileOpening, 0o664).catch(
      (error: NodeJS.ErrnoException) => {
        if (whileOpening && (error.code === "EAGAIN" || error.code === "EWOULDBLOCK")) return null;
        throw error;
      },
    );
    if (handle && (whileOpening || (await lockOpened(handle)))) return () => handle.close();
    await handle?.close();
    await sleep(200, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
  }
}

/** @returns false when somebody else has the lock. */
function lockOpened({ fd }: FileHandle): Promise<boolean> {
  return new Promise((resolve) => {
    const tool = spawn("flock", ["--nonblock", "3"], { stdio: ["ignore", "ignore", "ignore", fd] });
    tool.once("error", () => resolve(true));
    tool.once("exit", (code) => resolve(code !== 1));
  });
}

/**
 * Makes a folder, and those above it that are missing. Node 20's own recursion never ends below a folder that is there
 * but takes none, as /proc.
 */
async function makeFolder(path: string): Promise<void> {
  if (isFolder(path)) return;
  await makeFolder(dirname(path));
  await mkdir(path).catch(async (error: unknown) => {
    // Another process may have made it meanwhile.
    if (!isFolder(path)) throw error;
  });
}

const sizeOf = async (path: string): Promise<number | null> => {
  const found = await stat(path).catch(() => null);
  return found?.isFile() ? found.size : null;
};
