import { depthOptions, loadOptions, toJsonName } from "mflux-depth/options";
import { requestTables } from "../options/tables.js";

const optionNames = [requestTables.generate, loadOptions, depthOptions]
  .flatMap((table) => Object.keys(table))
  .filter((name) => name !== toJsonName(name));

const optionName = new RegExp(`\\b(?:${optionNames.join("|")})\\b`, "g");

/** Replaces the names of options in a message by their JSON names. */
const withJsonNames = (message: string): string => message.replace(optionName, toJsonName);

/** Replaces absolute paths by their last component: clients must not learn how this machine is set up. */
export const withoutPaths = (message: string): string =>
  message.replace(
    /(?<![\w/:.-])(?:[A-Za-z]:)?(?:[\\/][^\s"'`:,;()\\/]+)+[\\/]?/g,
    (path) => path.split(/[\\/]/).filter(Boolean).at(-1)!,
  );

/** Converts a message of the library for clients. */
export const forClients = (message: string): string => withoutPaths(withJsonNames(message));
