import { randomUUID } from "node:crypto";
import { access, constants, link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { OutputError } from "../errors.js";

/**
 * Refuses a place where nothing can be written, before any work is done.
 * @throws {OutputError} when the folder is missing or not writable.
 */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(path);
  const info = await stat(folder).catch(() => undefined);
  if (!info) throw new OutputError(path, `the folder ${folder} does not exist; create it first.`);
  if (!info.isDirectory()) throw new OutputError(path, `${folder} is not a folder.`);
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new OutputError(path, `this user may not write into ${folder}.`, { cause: error });
  });
  if ((await stat(path).catch(() => undefined))?.isDirectory())
    throw new OutputError(path, "is a folder; name a file.");
}

/**
 * Makes a folder in one that exists, if it is not there already.
 * @throws {OutputError} when it cannot be made.
 */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path).catch(async (error: unknown) => {
    const info = await stat(path).catch(() => undefined);
    if (!info?.isDirectory()) throw cannotWrite(path, error);
  });
}

/**
 * Writes a file whole or not at all.
 * @param overwrite false: an existing file stays, and the name gets _1, _2 … before its extension.
 * @returns the path written.
 * @throws {OutputError} when it cannot be written.
 */
export async function saveFile(
  path: string,
  bytes: Uint8Array | string,
  { overwrite = true }: { overwrite?: boolean } = {},
): Promise<string> {
  const beside = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
  try {
    const file = await open(beside, "wx");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    if (!overwrite) return await place(beside, path);
    await rename(beside, path);
    return path;
  } catch (error) {
    if (error instanceof OutputError) throw error;
    throw cannotWrite(path, error);
  } finally {
    await rm(beside, { force: true }).catch(() => {});
  }
}

/** Gives a file the first name of `path`, `path_1`, … that is free; two processes never take the same. */
async function place(file: string, path: string): Promise<string> {
  const extension = extname(path);
  const stem = path.slice(0, path.length - extension.length);
  for (let n = 0; ; n++) {
    const target = n === 0 ? path : `${stem}_${n}${extension}`;
    try {
      await link(file, target);
      return target;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EEXIST") continue;
      // File systems without hard links.
      if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS" && code !== "EOPNOTSUPP") throw error;
      if (await stat(target).catch(() => undefined)) continue;
      await rename(file, target);
      return target;
    }
  }
}

function cannotWrite(path: string, error: unknown): OutputError {
  const code = (error as NodeJS.ErrnoException).code;
  const reasons: Readonly<Record<string, string>> = {
    // What exists may take nothing new: /proc.
    ENOENT: `the folder ${dirname(path)} does not exist, or nothing can be made in it.`,
    ENOTDIR: `${dirname(path)} is not a folder.`,
    EACCES: `this user may not write into ${dirname(path)}.`,
    EPERM: `this user may not write into ${dirname(path)}.`,
    EROFS: "the disk is read-only.",
    ENOSPC: "the disk is full.",
    EISDIR: "is a folder; name a file.",
    ENAMETOOLONG: "the name is too long.",
  };
  return new OutputError(path, (code && reasons[code]) || `cannot be written (${code ?? error}).`, {
    cause: error,
  });
}
