import { existsSync } from "node:fs";
import { link, lstat, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, extname } from "node:path";
import { OutputError } from "../errors.js";
import { lacksLinks } from "./atomic-file.js";
import { isFolder } from "./folders.js";
import { followLinks } from "./links.js";
import { withTemporary } from "./temporary.js";

/**
 * Checks that a file can be written, before any work is done, by writing an empty one next to it.
 * @throws {OutputError} if its folder is missing or not writable, its name is too long, or the path leads to something
 *   that is not a regular file.
 */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(path);
  if (!existsSync(folder))
    throw new OutputError(path, `the folder ${folder} does not exist; create it first.`);
  if (!isFolder(folder)) throw new OutputError(path, `${folder} is not a folder.`);
  if (isFolder(path)) throw new OutputError(path, "is a folder; choose a file name.");
  try {
    const target = await followLinks(path);
    const existing = await stat(target).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (existing && !existing.isFile()) throw new OutputError(path, "is not a regular file; choose another.");
    await withTemporary(target, (temporary) => write(temporary, ""));
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/**
 * Checks that the file system accepts the name of a file.
 * @throws {OutputError} if it is too long.
 */
export async function checkName(path: string): Promise<void> {
  await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENAMETOOLONG") throw cannotWrite(path, error);
  });
}

/**
 * Creates a folder inside an existing one, unless it exists already.
 * @throws {OutputError} if it cannot be created.
 */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path).catch((error: unknown) => {
    if (!isFolder(path)) throw cannotWrite(path, error);
  });
}

/** A file that accompanies another one; its path is derived from the other's. */
export interface Companion {
  readonly pathFor: (path: string) => string;
  readonly bytes: Uint8Array | string;
}

export interface SaveFileOptions {
  /**
   * Replace existing files, including the targets of links (default true). If false, they are kept, and new files get
   * _1, _2 … before the extension.
   */
  readonly overwrite?: boolean;
  /** Written together with the file, under a name derived from the file's. */
  readonly companion?: Companion | undefined;
}

/**
 * Writes a file completely or not at all.
 * @returns the path of the file.
 * @throws {OutputError} if it cannot be written.
 */
export async function saveFile(
  path: string,
  bytes: Uint8Array | string,
  { overwrite = true, companion }: SaveFileOptions = {},
): Promise<string> {
  // The companion comes first, so that everything exists once the file does.
  const files = [...(companion ? [companion] : []), { pathFor: (name: string) => name, bytes }];
  try {
    if (!overwrite) return await saveUnderFreeName(path, files);
    await replaceAll(path, files);
    return path;
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Writes all files before it replaces the first one. */
async function replaceAll(path: string, [file, ...others]: readonly Companion[]): Promise<void> {
  if (file === undefined) return;
  const target = await followLinks(file.pathFor(path));
  await withTemporary(target, async (temporary) => {
    await write(temporary, file.bytes);
    await replaceAll(path, others);
    await rename(temporary, target);
  });
}

/** A complete file that still has its temporary name. */
interface Unnamed {
  readonly temporary: string;
  readonly pathFor: (path: string) => string;
}

/** Writes files under the first name among `path`, `path_1`, … that is free for all of them. */
async function saveUnderFreeName(
  path: string,
  [file, ...others]: readonly Companion[],
  written: readonly Unnamed[] = [],
): Promise<string> {
  if (file === undefined) return nameAll(path, written);
  return withTemporary(path, async (temporary) => {
    await write(temporary, file.bytes);
    return saveUnderFreeName(path, others, [...written, { temporary, pathFor: file.pathFor }]);
  });
}

async function nameAll(path: string, files: readonly Unnamed[]): Promise<string> {
  for (let n = 0; ; n++) {
    const target = n === 0 ? path : numbered(path, n, files);
    if (await takeNames(target, files)) return target;
  }
}

/** The maximum length of a name in all common file systems, in bytes. */
const longestName = 255;

/** Inserts `_n` before the extension of `path`, and shortens a name that becomes too long. */
function numbered(path: string, n: number, files: readonly Unnamed[]): string {
  const extension = extname(path);
  const stem = Array.from(path.slice(0, path.length - extension.length));
  const nameWith = (characters: readonly string[]): string => `${characters.join("")}_${n}${extension}`;
  const isTooLong = (name: string): boolean =>
    files.some(({ pathFor }) => Buffer.byteLength(basename(pathFor(name))) > longestName);
  while (isTooLong(nameWith(stem))) stem.pop();
  return nameWith(stem);
}

/** Gives files the names derived from `path`: all of them, or none if one is taken. */
async function takeNames(path: string, [file, ...others]: readonly Unnamed[]): Promise<boolean> {
  if (file === undefined) return true;
  const undo = await takeName(file.temporary, file.pathFor(path));
  if (undo === null) return false;
  let complete = false;
  try {
    complete = await takeNames(path, others);
  } finally {
    if (!complete) await undo();
  }
  return complete;
}

/**
 * Gives a file a name if it is free; two processes never take the same one.
 * @returns a function that undoes it, or null if the name is taken.
 */
async function takeName(file: string, name: string): Promise<(() => Promise<void>) | null> {
  try {
    // Unlike a rename, a link fails if the name is taken.
    await link(file, name);
    return () => rm(name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return null;
    if (!lacksLinks(error)) throw error;
    if (existsSync(name)) return null;
    await rename(file, name);
    return () => rename(name, file);
  }
}

/** Writes a new file and waits until it is on the disk. */
async function write(path: string, bytes: Uint8Array | string): Promise<void> {
  const file = await open(path, "wx");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

function cannotWrite(path: string, error: unknown): OutputError {
  if (error instanceof OutputError) return error;
  const { code, path: failed = path } = error as NodeJS.ErrnoException;
  // Not always the folder of `path`, which may be a link.
  const folder = dirname(failed);
  const reasons: Readonly<Record<string, string>> = {
    // Also reported for a folder that exists but accepts no entries, such as /proc.
    ENOENT: `the folder ${folder} does not exist or accepts no new files.`,
    ENOTDIR: `${folder} is not a folder.`,
    EACCES: `you do not have permission to write to ${folder}.`,
    EPERM: `you do not have permission to write to ${folder}.`,
    EROFS: "the disk is read-only.",
    ENOSPC: "the disk is full.",
    EISDIR: "is a folder; choose a file name.",
    ELOOP: "is a link that leads back to itself; choose another file.",
    ENAMETOOLONG: "the name is too long; use at most 255 bytes.",
  };
  return new OutputError(path, (code && reasons[code]) || `cannot be written (${code ?? error}).`, {
    cause: error,
  });
}
