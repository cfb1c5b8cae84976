import type { Command } from "../command/index.js";
import { OptionError } from "../errors.js";

/**
 * Loads the worker for NodeTool. It is part of a package that depends on this one, so it is imported by name, when the
 * command is called.
 * @throws {OptionError} when the package is not installed.
 */
export async function loadWorker(): Promise<Command> {
  const name = "@mflux-depth/nodetool/worker";
  const { usage, run }: Command = await import(name).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new OptionError(
      "worker",
      "The worker for NodeTool is not installed; install it next to mflux-depth: npm install @mflux-depth/nodetool.",
      { cause: error },
    );
  });
  return { usage, run };
}
