import { type Stats, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

/** Whether a path leads to a folder; false if it cannot be examined. */
export const isFolder = (path: string): boolean => look(path)?.isDirectory() ?? false;

/** Whether a path leads to a regular file; false if it cannot be examined. */
export const isFile = (path: string): boolean => look(path)?.isFile() ?? false;

function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/**
 * Creates a folder and its missing parents. `mkdir` with `recursive` is not an option: in Node 20 it never returns below
 * an existing folder that accepts no entries, such as /proc.
 * @throws the error of the file system.
 */
export async function makeFolders(path: string): Promise<void> {
  if (isFolder(path)) return;
  await makeFolders(dirname(path));
  await mkdir(path).catch((error: unknown) => {
    // Another process may have created it in the meantime.
    if (!isFolder(path)) throw error;
  });
}
