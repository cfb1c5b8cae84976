import type { Command } from "../command/index.js";
import { OptionError } from "../errors.js";

/**
 * Loads a command from a package that depends on this one. It is imported by name, and only when the command is called.
 * @param command its name on the command line
 * @param module the package and the path of the module
 * @throws {OptionError} when the package is not installed.
 */
export async function loadCompanion(command: string, module: string): Promise<Command> {
  const { usage, run }: Command = await import(module).catch((error: NodeJS.ErrnoException) => {
    const name = module.split("/").slice(0, 2).join("/");
    if (error.code !== "ERR_MODULE_NOT_FOUND" || !error.message.includes(`'${name}'`)) throw error;
    throw new OptionError(
      command,
      `The command ${command} is in a package of its own; install it next to mflux-depth: npm install ${name}.`,
      { cause: error },
    );
  });
  return { usage, run };
}
