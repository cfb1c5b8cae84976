import { fileURLToPath } from "node:url";

/** The folder of the package `mflux-depth`. */
export const packageFolder = fileURLToPath(new URL("../../", import.meta.resolve("mflux-depth")));
