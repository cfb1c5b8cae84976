import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ToEngine, ToSide, ToStore } from "./protocol.js";

/**
 * Starts one of the engine's processes, with a channel for structured clones.
 * @param module the compiled module to run, in this folder.
 * @param env its environment; this process's by default.
 */
export const forkHost = (
  module: "host.js" | "side-host.js" | "store-host.js",
  env: NodeJS.ProcessEnv | undefined,
): ChildProcess =>
  fork(fileURLToPath(new URL(`./${module}`, import.meta.url)), [], {
    serialization: "advanced",
    // Output of MLX and other libraries goes to standard error: standard output belongs to the owner's results.
    stdio: ["ignore", 2, 2, "ipc"],
    execArgv: [],
    ...(env && { env }),
  });

/** Sends a message to one of the engine's processes; does nothing if it has ended or never started. */
export function sendTo(child: ChildProcess, message: ToEngine | ToSide | ToStore): void {
  // A process that failed to start may have no channel; its error event follows.
  if (child.pid === undefined) return;
  // Ignore failed deliveries: the exit event reports that the process has ended.
  child.send(message, () => {});
}
