import { existsSync } from "node:fs";
import { access, constants, link, mkdir, open, rename } from "node:fs/promises";
import { dirname, extname } from "node:path";
import { OutputError } from "../errors.js";
import { lacksLinks, withTemporary } from "./atomic-file.js";
import { isFolder } from "./folders.js";

/**
 * Checks that a file can be written, before any work is done.
 * @throws {OutputError} if its folder is missing or not writable, or the path is a folder.
 */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(path);
  if (!existsSync(folder))
    throw new OutputError(path, `the folder ${folder} does not exist; create it first.`);
  if (!isFolder(folder)) throw new OutputError(path, `${folder} is not a folder.`);
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new OutputError(path, `you do not have permission to write to ${folder}.`, { cause: error });
  });
  if (isFolder(path)) throw new OutputError(path, "is a folder; name a file.");
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

/**
 * Writes a file completely or not at all.
 * @param overwrite if false, an existing file is kept and the new one gets _1, _2 … before its extension.
 * @returns the path of the file.
 * @throws {OutputError} if it cannot be written.
 */
export async function saveFile(
  path: string,
  bytes: Uint8Array | string,
  { overwrite = true }: { overwrite?: boolean } = {},
): Promise<string> {
  try {
    return await withTemporary(path, async (temporary) => {
      const file = await open(temporary, "wx");
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      if (!overwrite) return moveToFreeName(temporary, path);
      await rename(temporary, path);
      return path;
    });
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Moves a file to the first free name among `path`, `path_1`, …; two processes never take the same one. */
async function moveToFreeName(file: string, path: string): Promise<string> {
  const extension = extname(path);
  const stem = path.slice(0, path.length - extension.length);
  for (let n = 0; ; n++) {
    const target = n === 0 ? path : `${stem}_${n}${extension}`;
    try {
      // Unlike a rename, a link fails if the name is taken.
      await link(file, target);
      return target;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") continue;
      if (!lacksLinks(error)) throw error;
      if (existsSync(target)) continue;
      await rename(file, target);
      return target;
    }
  }
}

function cannotWrite(path: string, error: unknown): OutputError {
  const code = (error as NodeJS.ErrnoException).code;
  const folder = dirname(path);
  const reasons: Readonly<Record<string, string>> = {
    // Also reported by an existing folder that accepts no entries, such as /proc.
    ENOENT: `the folder ${folder} does not exist or accepts no new files.`,
    ENOTDIR: `${folder} is not a folder.`,
    EACCES: `you do not have permission to write to ${folder}.`,
    EPERM: `you do not have permission to write to ${folder}.`,
    EROFS: "the disk is read-only.",
    ENOSPC: "the disk is full.",
    EISDIR: "is a folder; name a file.",
    ENAMETOOLONG: "the name is too long.",
  };
  return new OutputError(path, (code && reasons[code]) || `cannot be written (${code ?? error}).`, {
    cause: error,
  });
}
