import { OptionError } from "../errors.js";
import type { Command } from "./command.js";

/** What the node's package offers for this command. */
type WorkerProgram = Pick<Command, "summary" | "usage" | "run">;

/**
 * The worker for NodeTool, which is a package of its own that stands on this one: it is read by its name when it is
 * called.
 * @throws {OptionError} when it is not installed.
 */
export async function loadWorker(): Promise<Command> {
  const name = "@mflux-depth/nodetool/worker";
  const program: WorkerProgram = await import(name).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new OptionError(
      "worker",
      "The worker for NodeTool is not installed: npm install @mflux-depth/nodetool, beside mflux-depth.",
      { cause: error },
    );
  });
  return { name: "worker", summary: program.summary, usage: program.usage, run: program.run };
}
