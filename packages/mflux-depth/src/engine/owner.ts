/*
 * The owner of one of the engine's processes, as that process sees it: at the other end of the channel that `fork`
 * opens.
 */
import type { FromEngine, FromStore } from "./protocol.js";

/** Tells the owner; one that has gone need not hear it. */
export function tellOwner(message: FromEngine | FromStore): void {
  process.send?.(message, undefined, undefined, () => {});
}

/** Ends this process when its owner is gone, however that ended: the channel closes with it. */
export function endWithOwner(): void {
  process.on("disconnect", () => process.exit(0));
  // It may have gone while this process was starting.
  if (!process.connected) process.exit(0);
  // Ctrl-C reaches every process of a terminal; the owner decides what it means.
  process.on("SIGINT", () => {});
}
