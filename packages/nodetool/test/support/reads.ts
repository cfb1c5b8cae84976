/*
 * Preloaded into a worker by a test: says on standard error which places in the cache of models it looks at while
 * nothing else of it can run. A disk may take its time for each.
 */
import fs, { writeSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const cache = process.env.HF_HUB_CACHE;
const names = [
  "accessSync",
  "existsSync",
  "lstatSync",
  "openSync",
  "opendirSync",
  "readdirSync",
  "readFileSync",
  "readlinkSync",
  "realpathSync",
  "statSync",
] as const;

// The engine and the downloads, which inherit the preload, have nobody to answer.
if (cache && process.argv.includes("worker")) {
  const patched = fs as unknown as Record<string, (path: unknown, ...rest: unknown[]) => unknown>;
  for (const name of names) {
    const original = patched[name]!;
    patched[name] = (path, ...rest) => {
      if (String(path).startsWith(cache)) writeSync(2, `${name} ${path}\n`);
      return original(path, ...rest);
    };
  }
  syncBuiltinESMExports();
}
