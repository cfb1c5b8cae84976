import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

/** How often each program is run. `npm run soak -w packages/mlx` runs it many times, to find what happens rarely. */
const times = Number(process.env.MFLUX_DEPTH_TEST_EXITS ?? 1);

const program = fileURLToPath(new URL("support/exit-scenarios.js", import.meta.url));

/** Runs a scenario; returns its exit code, or the signal that killed it (SIGKILL if it hung). */
async function run(scenario: string): Promise<{ end: number | string; output: string }> {
  const child = spawn(process.execPath, [program, scenario], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  return { end: code ?? signal ?? "", output };
}

const scenarios: readonly (readonly [name: string, code: number, says?: RegExp])[] = [
  ["natural end", 0],
  ["natural end with a code", 7],
  ["natural end with work pending", 0],
  ["natural end with lazy arrays", 0],
  ["process.exit with products pending", 3],
  ["process.exit with elementwise work pending", 3],
  ["process.exit from a signal handler", 130],
  ["throw with work pending", 1, /Error: uncaught/],
  ["work only in a worker", 4],
  ["four workers at once", 0],
  ["a worker calls process.exit", 0],
  ["a worker throws", 0],
  ["a worker leaves work", 0],
  ["a worker is terminated", 0],
  ["process.exit while a worker is busy", 6],
  ["child processes during products", 0],
];

describe("a process that used MLX exits with its code", { concurrency: 2 }, () => {
  for (const [name, code, says] of scenarios) {
    test(name, async () => {
      for (let time = 0; time < times; time++) {
        const { end, output } = await run(name);
        assert.equal(end, code, output);
        if (says) assert.match(output, says);
        else assert.equal(output, "");
      }
    });
  }
});
