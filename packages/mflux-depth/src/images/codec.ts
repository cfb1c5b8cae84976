import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/**
 * Loads sharp, a library of 20 MB, when the first image is read or written. `import` would take twice as long, because
 * Node first looks for named exports in all of sharp's dependencies.
 */
export const codec = () => require("sharp") as typeof import("sharp").default;
