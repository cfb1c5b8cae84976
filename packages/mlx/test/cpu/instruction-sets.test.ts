import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { native } from "../../src/load.js";
import { onLinux } from "../support/fused.js";
import { source } from "../support/process.js";

/*
 * The other tests of this folder run with the machine's best instruction set. This file runs them again with each of
 * the others.
 */

const sets =
  process.arch === "x64" ? ["avx512-pairs", "avx512", "avx2-vnni", "avx2", "generic"] : ["generic"];

const folder = fileURLToPath(new URL(".", import.meta.url));
/** A program that runs all of them in one process: most of them take less time than a process to start. */
const tests = readdirSync(folder)
  .filter((name) => name.endsWith(".test.js") && name !== basename(import.meta.url))
  .map((name) => `await import(${JSON.stringify(new URL(name, import.meta.url).href)});`)
  .join("\n");

/** Runs Node with a wished instruction set, outside this test runner. */
function run(
  set: string,
  args: readonly string[],
): { status: number | null; stdout: string; stderr: string } {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return spawnSync(process.execPath, args, { env: { ...env, MFLUX_DEPTH_ISA: set }, encoding: "utf8" });
}

const printed = `import { native } from ${JSON.stringify(source("load"))}; console.log(native.instructionSet());`;
const probe = ["--input-type=module", "-e", printed];

describe("instruction sets", onLinux, () => {
  it("uses one of the known sets", () => {
    assert.ok([...sets, process.env.MFLUX_DEPTH_ISA].includes(native.instructionSet()));
  });

  it("rejects an unknown set", () => {
    const { status, stderr } = run("avx1024", probe);
    assert.equal(status, 1);
    assert.match(stderr, /MlxError: MFLUX_DEPTH_ISA is "avx1024"; unset it, or set it to one of .*generic/);
  });

  for (const set of sets.filter((name) => name !== native.instructionSet()))
    it(`passes all tests with ${set}`, (context) => {
      const { status, stdout, stderr } = run(set, probe);
      assert.equal(status, 0, stderr);
      if (stdout.trim() !== set) {
        assert.ok(set.startsWith("avx"), `${stdout.trim()} in place of ${set}`);
        return context.skip("this processor lacks it");
      }
      const outcome = run(set, ["--test-reporter=tap", "--input-type=module", "-e", tests]);
      assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
      assert.match(outcome.stdout, /^# pass [1-9]\d{1,}$/m);
    });
});
