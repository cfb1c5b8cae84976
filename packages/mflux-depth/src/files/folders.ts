import { statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

/** Tells whether a path leads to a folder. A path that cannot be looked at does not. */
export function isFolder(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    return false;
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
