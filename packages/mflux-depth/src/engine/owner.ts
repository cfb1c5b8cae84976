/*
 * The owner of one of the engine's processes, as seen from that process: the other end of the channel that `fork` opens.
 */
import { endAfterHangup } from "@mflux-depth/mlx/exit-guard";
import type { FromDepth, FromEngine, FromSide, FromStore } from "./protocol.js";

/** Sends a message to the owner; failed deliveries are ignored. */
export function tellOwner(message: FromEngine | FromDepth | FromSide | FromStore): void {
  process.send?.(message, undefined, undefined, () => {});
}

/** How long this process may take to exit after its owner has ended. */
const patienceMs = 500;

/** Ends this process when its owner ends for any reason, which closes the channel. */
export function endWithOwner(): void {
  process.on("disconnect", () => process.exit(0));
  // A long computation may delay both the event and the exit.
  const { fd } = (process.channel ?? {}) as { readonly fd?: number };
  if (fd !== undefined && fd >= 0) endAfterHangup(fd, patienceMs);
  // The owner may have ended while this process was starting.
  if (!process.connected) process.exit(0);
  // Ctrl-C reaches every process of a terminal; the owner decides how to react.
  process.on("SIGINT", () => {});
}
