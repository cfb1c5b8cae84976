/*
 * Names for files and folders that are being written. They are short, so that any valid name can be the target, and
 * they identify the writing process, so that the next write in the same folder removes the leftovers of a killed one.
 */
import { createHash, randomBytes } from "node:crypto";
import { readlinkSync, rmSync } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";

/** Process ids are unique only within a machine and container, and folders can be shared. */
const machine = createHash("sha256").update(`${hostname()} ${processNamespace()}`).digest("hex").slice(0, 8);

/** The namespace of process ids, which differs between containers on one machine; blank outside Linux. */
function processNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

const form = /^\.mflux-depth-(?<machine>[0-9a-f]{8})-(?<pid>\d+)-[0-9a-f]{8}\.partial$/;

/** A temporary that has not grown for this long is abandoned, whoever created it. */
const abandonedAfterMs = 24 * 60 * 60 * 1000;

/** The temporaries of this process. */
const current = new Set<string>();

/**
 * Lends the name of a temporary file or folder next to `target`, on the same file system. Anything left under that name
 * is deleted afterwards, even if the process ends by `process.exit`.
 * @returns the result of `use`.
 */
export async function withTemporary<T>(target: string, use: (temporary: string) => Promise<T>): Promise<T> {
  const folder = dirname(target);
  await removeLeftovers(folder);
  const name = `.mflux-depth-${machine}-${process.pid}-${randomBytes(4).toString("hex")}.partial`;
  const temporary = join(folder, name);
  if (current.size === 0) process.on("exit", removeTemporaries);
  current.add(temporary);
  try {
    return await use(temporary);
  } finally {
    await remove(temporary);
    current.delete(temporary);
    if (current.size === 0) process.off("exit", removeTemporaries);
  }
}

/** Deletes this process's temporaries at once, before the process exits. */
export function removeTemporaries(): void {
  for (const temporary of current)
    try {
      // Other threads may still be adding files.
      rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // The next write in the folder tries again.
    }
}

/** Deletes the leftovers of killed processes in a folder. Ignores a folder that cannot be read. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const writer = form.exec(name)?.groups;
    if (writer === undefined) continue;
    const path = join(folder, name);
    const isHere = writer.machine === machine;
    if (isHere && !isRunning(Number(writer.pid))) await remove(path);
    else {
      // Process ids are reused: files older than this process belong to an earlier one.
      const isOwnNumber = isHere && Number(writer.pid) === process.pid;
      const oldest = isOwnNumber ? process.uptime() * 1000 : abandonedAfterMs;
      if (!current.has(path) && (await ageOf(path)) > oldest) await remove(path);
    }
  }
}

const remove = (path: string): Promise<void> => rm(path, { recursive: true, force: true }).catch(() => {});

/** Milliseconds since a file or folder was changed; 0 if it is gone. */
const ageOf = async (path: string): Promise<number> => {
  const found = await stat(path).catch(() => null);
  return found === null ? 0 : Date.now() - found.mtimeMs;
};

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // The process exists but belongs to another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
