import { depthOptions, loadOptions } from "mflux-depth/options";
import { toJsonName } from "../options/names.js";
import { requestTables } from "../options/tables.js";

const optionNames = [requestTables.generate, loadOptions, depthOptions]
  .flatMap((table) => Object.keys(table))
  .filter((name) => name !== toJsonName(name));

const optionName = new RegExp(`\\b(?:${optionNames.join("|")})\\b`, "g");

/** A message of the library with the names that options have in JSON. */
const withJsonNames = (message: string): string => message.replace(optionName, toJsonName);

/** Replaces absolute paths by the last part of their names: clients must not learn how this machine is set up. */
export const withoutPaths = (message: string): string =>
  message.replace(
    /(?<![\w/:.-])(?:[A-Za-z]:)?(?:[\\/][^\s"'`:,;()\\/]+)+[\\/]?/g,
    (path) => path.split(/[\\/]/).filter(Boolean).at(-1)!,
  );

/** A message of the library as clients may see it. */
export const forClients = (message: string): string => withoutPaths(withJsonNames(message));
