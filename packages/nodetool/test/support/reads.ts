/*
 * Preloaded into a worker by a test: logs to standard error each synchronous access to the cache of models, during which
 * the worker cannot answer.
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

// The engine and the downloads inherit the preload, but answer no requests.
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
