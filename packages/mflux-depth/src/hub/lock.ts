import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { withoutSecrets } from "../secrets.js";
import { type WaitListener, WaitReport } from "./waiting.js";

/** O_EXLOCK, for which Node has no constant: opening a file with it takes the lock. 0 on other systems. */
const lockOnOpen = ["darwin", "freebsd", "openbsd"].includes(process.platform) ? 0x20 : 0;

const pollMs = 200;

export interface LockOptions {
  readonly signal: AbortSignal | undefined;
  /** Called every few seconds while another process holds the lock. */
  readonly onWait?: WaitListener | undefined;
  readonly reportMs?: number | undefined;
}

/**
 * Takes the same `flock` as Python's library, waiting for other holders. It is released with the returned function, or
 * when this process ends. Node has no such call: on macOS and BSD, opening a file can take the lock; on Linux, the
 * `flock` tool locks a file that we hold open. If neither works, there is no lock.
 * @throws the signal's reason when cancelled.
 */
export async function lock(
  path: string,
  { signal, onWait, reportMs }: LockOptions,
): Promise<() => Promise<void>> {
  using _report = new WaitReport(`another process that downloads the same file (${path})`, onWait, reportMs);
  for (;;) {
    signal?.throwIfAborted();
    const handle = await openForLock(path);
    if (handle && (lockOnOpen || (await lockWithTool(handle)))) return () => handle.close();
    await handle?.close();
    await sleep(pollMs, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
  }
}

/** Opens a lock file, with its lock if possible; null if another process holds the lock. */
function openForLock(path: string): Promise<FileHandle | null> {
  const flags = constants.O_RDWR | constants.O_CREAT;
  const locking = lockOnOpen && lockOnOpen | constants.O_NONBLOCK;
  return open(path, flags | locking, 0o664).catch((error: NodeJS.ErrnoException) => {
    if (lockOnOpen && (error.code === "EAGAIN" || error.code === "EWOULDBLOCK")) return null;
    throw error;
  });
}

/** @returns false if another process holds the lock. */
function lockWithTool({ fd }: FileHandle): Promise<boolean> {
  return new Promise((resolve) => {
    const tool = spawn("flock", ["--nonblock", "3"], {
      stdio: ["ignore", "ignore", "ignore", fd],
      env: withoutSecrets(process.env),
    });
    tool.once("error", () => resolve(true));
    tool.once("exit", (code) => resolve(code !== 1));
  });
}
