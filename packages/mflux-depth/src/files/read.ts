import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { untilAborted } from "../abort.js";
import { describeBytes } from "../bytes.js";

/*
 * Reads files whose path comes from a user or a repository. A pipe, a device or an endless file under such a path must
 * not block or fill the memory: only regular files are read, up to a limit.
 */

export type FileProblem =
  | "missing"
  | "folder"
  | "not-regular"
  | "too-large"
  | "too-slow"
  | "forbidden"
  | "unreadable";

/** A file cannot be read. The message completes a sentence that begins with the path: "is a folder". */
export class FileReadError extends Error {
  override readonly name = "FileReadError";

  constructor(
    readonly problem: FileProblem,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface ReadOptions {
  /** The maximum size of the file in bytes. */
  readonly limit: number;
  readonly signal?: AbortSignal | undefined;
  /** How long reading may take; by default long enough for a slow disk. */
  readonly milliseconds?: number | undefined;
}

/** The time for a file: a minute for a disk that has to spin up, and a second per megabyte. */
const usualMilliseconds = (bytes: number): number => 60_000 + bytes / 1000;

// Opening a pipe without a writer blocks unless asked otherwise; Windows has neither the flag nor such pipes.
const openFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a regular file; the caller closes it.
 * @returns the file and its size in bytes.
 * @throws {FileReadError} when it is missing, unreadable, no regular file, or larger than `limit` bytes.
 */
export async function openRegularFile(
  path: string,
  limit: number,
): Promise<{ readonly file: FileHandle; readonly size: number }> {
  const file = await open(path, openFlags).catch((error: unknown) => {
    throw openingProblem(error);
  });
  try {
    return { file, size: checkedSize(await file.stat(), limit) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Reads a regular file.
 * @throws {FileReadError} when it is missing, unreadable, no regular file, larger than the limit, or read too slowly.
 * @throws the signal's reason when it is aborted.
 */
export async function readRegularFile(
  path: string,
  { limit, signal, milliseconds }: ReadOptions,
): Promise<Buffer> {
  signal?.throwIfAborted();
  const { file, size } = await openRegularFile(path, limit);
  const allowed = milliseconds ?? usualMilliseconds(size);
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(tooSlow(allowed)), allowed);
  const forward = (): void => stop.abort(signal?.reason);
  signal?.addEventListener("abort", forward, { once: true });
  try {
    return await untilAborted(readWhole(file, limit, stop.signal), stop.signal);
  } catch (error) {
    throw stop.signal.aborted || error instanceof FileReadError ? error : openingProblem(error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", forward);
    // A read that hangs keeps the file open, and closing would wait for it.
    void file.close().catch(() => {});
  }
}

async function readWhole(file: FileHandle, limit: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  // The size is wrong if the file grows, or if the system makes it up (/proc).
  for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) {
    signal.throwIfAborted();
    total += (chunk as Buffer).byteLength;
    if (total > limit) throw tooLarge(limit);
    chunks.push(chunk as Buffer);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/**
 * Reads a regular file while nothing else runs; for small files.
 * @param limit the maximum size of the file in bytes.
 * @param milliseconds how long reading may take; by default long enough for a slow disk.
 * @throws {FileReadError} when it is missing, unreadable, no regular file, larger than the limit, or read too slowly.
 */
export function readRegularFileSync(path: string, limit: number, milliseconds?: number): Buffer {
  let file: number | undefined;
  try {
    file = openSync(path, openFlags);
    const size = checkedSize(fstatSync(file), limit);
    const allowed = milliseconds ?? usualMilliseconds(size);
    const began = performance.now();
    let bytes = Buffer.alloc(size + 1);
    let total = 0;
    for (;;) {
      const read = readSync(file, bytes, total, bytes.length - total, null);
      if (read === 0) return bytes.subarray(0, total);
      total += read;
      if (total > limit) throw tooLarge(limit);
      if (performance.now() - began > allowed) throw tooSlow(allowed);
      if (total === bytes.length) bytes = Buffer.concat([bytes, Buffer.alloc(bytes.length)]);
    }
  } catch (error) {
    throw error instanceof FileReadError ? error : openingProblem(error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function checkedSize(info: Stats, limit: number): number {
  if (info.isDirectory()) throw new FileReadError("folder", "is a folder");
  if (!info.isFile())
    throw new FileReadError("not-regular", "is a pipe, a device or a socket; expected a regular file");
  if (info.size > limit) throw tooLarge(limit);
  return info.size;
}

const tooLarge = (limit: number): FileReadError =>
  new FileReadError("too-large", `is larger than ${describeBytes(limit)}`);

const tooSlow = (milliseconds: number): FileReadError =>
  new FileReadError("too-slow", `did not arrive within ${Math.round(milliseconds / 1000)} s`);

function openingProblem(error: unknown): FileReadError {
  const { code } = error as NodeJS.ErrnoException;
  const problem = (kind: FileProblem, message: string) => new FileReadError(kind, message, { cause: error });
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return problem("missing", "there is no such file");
    case "EACCES":
    case "EPERM":
      return problem("forbidden", "this user may not read it");
    case "EISDIR":
      return problem("folder", "is a folder");
    // A socket, or a device without a driver.
    case "ENXIO":
    case "ENODEV":
      return problem("not-regular", "is a pipe, a device or a socket; expected a regular file");
    default:
      return problem("unreadable", `cannot be read (${code ?? error})`);
  }
}
