/* Ends a process that no longer answers signals, or whose owner has exited. It loads a separate addon, without MLX. */
import { createRequire } from "node:module";
import { constants } from "node:os";

interface Addon {
  guard(number: number, urgent: boolean, patienceMs: number): void;
  endAfterHangup(fd: number, patienceMs: number): void;
  endNow(code: number): void;
}

const require = createRequire(import.meta.url);

/** The places of the addon, in order: a platform package, then this package's build. */
const places = [
  `@mflux-depth/mlx-${process.platform}-${process.arch}/build/Release/exit_guard.node`,
  "../../build/Release/exit_guard.node",
];

function load(): Addon | null {
  for (const place of places)
    try {
      return require(place) as Addon;
    } catch {
      // The next place may have it.
    }
  return null;
}

const addon = load();

export interface GuardOptions {
  /** Whether the first signal should end the process, like SIGTERM; otherwise the second one does, like SIGINT. */
  readonly urgent: boolean;
  /** The time that signal handlers in JavaScript have to end the process. */
  readonly patienceMs: number;
}

/**
 * Ends the process after terminating signals, with the exit code that shells expect (128 and the signal's number), even
 * if the event loop is blocked. Call it after `process.on`, whose handlers run as before. Removing them lifts the
 * guard.
 * @returns whether the guard works here, which requires the compiled addon.
 */
export function guardSignal(signal: NodeJS.Signals, { urgent, patienceMs }: GuardOptions): boolean {
  addon?.guard(constants.signals[signal], urgent, patienceMs);
  return addon !== null;
}

/**
 * Ends the process, with exit code 0, when the other end of a socket has closed, even if the event loop is blocked.
 * @param fd the socket; it may be closed afterwards.
 * @param patienceMs the time that JavaScript has to end the process.
 */
export function endAfterHangup(fd: number, patienceMs: number): void {
  addon?.endAfterHangup(fd, patienceMs);
}

/**
 * Ends the process at once: without exit handlers, and without waiting for threads, as `process.exit` would. Without
 * the addon, SIGKILL ends it.
 */
export function endNow(code: number): never {
  addon?.endNow(code);
  process.kill(process.pid, "SIGKILL");
  throw new Error("the process has survived SIGKILL");
}
