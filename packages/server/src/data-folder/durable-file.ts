import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Writes a file that survives a loss of power: under a temporary name, synced and renamed, so that its name always
 * leads to complete content.
 * @throws the error of the file system; no partial file is left.
 */
export async function writeDurably(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const aside = `${path}.new`;
  try {
    const handle = await open(aside, "w", 0o600);
    try {
      for (const part of parts) await handle.writeFile(part);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(aside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/** Waits until a folder's directory entries are on the disk. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows neither needs this nor allows it.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const diskFullCodes = ["ENOSPC", "EDQUOT", "SQLITE_FULL"];

/** Whether an error of the file system or of SQLite says that the disk is full. */
export function isDiskFull(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && diskFullCodes.includes(code);
}
