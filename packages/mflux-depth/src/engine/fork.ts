import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

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
