/*
 * The owner of one of the engine's processes, as seen from that process: the other end of the channel that `fork` opens.
 */
import type { FromDepth, FromEngine, FromSide, FromStore } from "./protocol.js";

/** Sends a message to the owner; failed deliveries are ignored. */
export function tellOwner(message: FromEngine | FromDepth | FromSide | FromStore): void {
  process.send?.(message, undefined, undefined, () => {});
}

/** Ends this process when its owner ends for any reason: the channel closes with it. */
export function endWithOwner(): void {
  process.on("disconnect", () => process.exit(0));
  // The owner may have ended while this process was starting.
  if (!process.connected) process.exit(0);
  // Ctrl-C reaches every process of a terminal; the owner decides what it means.
  process.on("SIGINT", () => {});
}
