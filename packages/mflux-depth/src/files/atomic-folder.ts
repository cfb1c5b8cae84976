/*
 * Folders that appear complete or not at all: they are filled under a temporary name in the same place, then renamed.
 */
import { mkdir, open, readdir, rename, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describeBytes } from "../bytes.js";
import { OutputError } from "../errors.js";
import { isFolder } from "./folders.js";
import { followLinks } from "./links.js";
import { withTemporary } from "./temporary.js";

/**
 * Checks that a folder can be created at `target`, by creating one next to it: its parent must exist, and `target` must
 * be free or an empty folder.
 * @throws {OutputError} when the place is taken, its parent is missing or not writable, or its name is too long.
 */
export async function checkNewFolder(target: string): Promise<void> {
  const existing = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return null;
    throw asOutputError(target, error);
  });
  if (existing && !existing.isDirectory())
    throw new OutputError(target, "a file of this name exists; choose a new folder.");
  if (existing && (await readdir(target)).length > 0)
    throw new OutputError(target, "this folder is not empty; choose a new one.");
  if (!isFolder(dirname(target)))
    throw new OutputError(target, `the parent folder ${dirname(target)} does not exist; create it first.`);
  try {
    await withTemporary(await followLinks(target), (temporary) => mkdir(temporary));
  } catch (error) {
    throw asOutputError(target, error);
  }
}

/**
 * Checks that the disk has room for a folder at `target`.
 * @throws {OutputError} when less than `bytes` are free.
 */
export async function checkDiskSpace(target: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(target));
  const free = bavail * bsize;
  if (free < bytes)
    throw new OutputError(
      target,
      `needs ${describeBytes(bytes)}, but the disk has only ${describeBytes(free)} free; free some space or choose another disk.`,
    );
}

/**
 * Creates the folder `target` completely or not at all: `fill` writes into a temporary folder next to it, which is
 * renamed once everything is on the disk.
 * @throws {OutputError} when the file system refuses; what `fill` throws otherwise. The temporary folder is removed.
 */
export async function writeFolder(target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  try {
    const place = await followLinks(target);
    await withTemporary(place, async (partial) => {
      await mkdir(partial);
      await fill(partial);
      await syncTree(partial);
      await rename(partial, place);
      await sync(dirname(place));
    });
  } catch (error) {
    throw asOutputError(target, error);
  }
}

/** Waits until a folder and everything in it are on the disk. */
async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    await (entry.isDirectory() ? syncTree(path) : sync(path));
  }
  await sync(folder);
}

/** Waits until a file's content, or a folder's directory entries, are on the disk. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const diskFullCodes: readonly (string | undefined)[] = ["ENOSPC", "EDQUOT", "EFBIG"];

/** The error of a system call as an {@link OutputError}; other errors unchanged. */
function asOutputError(target: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  const reasons: Readonly<Record<string, string>> = {
    EACCES: `you do not have permission to write to ${dirname(target)}.`,
    EPERM: `you do not have permission to write to ${dirname(target)}.`,
    EROFS: "the disk is read-only.",
    ENAMETOOLONG: "the name is too long; use at most 255 bytes.",
    ENOTEMPTY: "another program has written into this folder in the meantime; choose a new one.",
    ELOOP: "it is a link that leads back to itself; choose another folder.",
  };
  const reason = diskFullCodes.includes(code)
    ? `the disk is full (${code}); what had been written is removed.`
    : ((code && reasons[code]) ?? `it cannot be written (${message}).`);
  return new OutputError(target, reason, { cause: error });
}
