import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, test } from "node:test";
import { withTemporary } from "../../src/files/temporary.js";
import { folderPerTest } from "../support/folders.js";

const folder = folderPerTest("temporary");
const at = (name: string): string => join(folder(), name);
const module = new URL("../../src/files/temporary.js", import.meta.url).href;

/** Runs a program that has `withTemporary`, in the folder of the test. @returns how it ended. */
const program = (source: string): { status: number | null; signal: NodeJS.Signals | null } =>
  spawnSync(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { mkdirSync, writeFileSync } from "node:fs";
       import { withTemporary } from ${JSON.stringify(module)};
       ${source}`,
    ],
    { cwd: folder(), stdio: ["ignore", "inherit", "inherit"] },
  );

/** Leaves the temporary of a killed process. @returns its name. */
function leave(): string {
  const { signal } = program(`await withTemporary("x", async (temporary) => {
    mkdirSync(temporary);
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => setInterval(() => {}, 1000));
  });`);
  assert.equal(signal, "SIGKILL");
  const [name] = readdirSync(folder());
  assert.ok(name);
  return name;
}

/** A temporary's name with another machine or process in it. */
const renamed = (name: string, { machine, pid }: { machine?: string; pid?: number }): string =>
  name.replace(
    /^(\.mflux-depth)-(\w+)-(\d+)-/,
    (_, start, oldMachine, oldPid) => `${start}-${machine ?? oldMachine}-${pid ?? oldPid}-`,
  );

const hoursAgo = (hours: number): number => Date.now() / 1000 - hours * 3600;

describe("withTemporary", () => {
  test("lends a name in the same folder", async () => {
    const name = await withTemporary(at("x"), async (temporary) => temporary);
    assert.equal(dirname(name), folder());
    assert.notEqual(name, at("x"));
  });

  test("lends a name that is short for a long target too", async () => {
    const name = await withTemporary(at("x".repeat(255)), async (temporary) => temporary);
    assert.ok(basename(name).length < 64, name);
  });

  test("deletes the temporary file", async () => {
    await withTemporary(at("x"), async (temporary) => writeFileSync(temporary, "1"));
    assert.deepEqual(readdirSync(folder()), []);
  });

  test("deletes the temporary folder of a process that exits meanwhile", () => {
    const { status } = program(`await withTemporary("x", async (temporary) => {
      mkdirSync(temporary);
      writeFileSync(temporary + "/file", "1");
      process.exit(3);
    });`);
    assert.equal(status, 3);
    assert.deepEqual(readdirSync(folder()), []);
  });

  test("deletes what a killed process left in the folder, for whichever target", async () => {
    leave();
    await withTemporary(at("another"), async () => {});
    assert.deepEqual(readdirSync(folder()), []);
  });

  test("leaves the temporary of a running process", async () => {
    const name = renamed(leave(), { pid: process.ppid });
    writeFileSync(at(name), "");
    await withTemporary(at("x"), async () => {});
    assert.deepEqual(readdirSync(folder()), [name]);
  });

  test("leaves other temporaries of its own process", async () => {
    await withTemporary(at("x"), async (outer) => {
      writeFileSync(outer, "");
      utimesSync(outer, hoursAgo(48), hoursAgo(48));
      await withTemporary(at("y"), async () => {});
      assert.deepEqual(readdirSync(folder()), [basename(outer)]);
    });
  });

  test("deletes what an earlier process of the same number left", async () => {
    const name = renamed(leave(), { pid: process.pid });
    writeFileSync(at(name), "");
    utimesSync(at(name), hoursAgo(1), hoursAgo(1));
    await withTemporary(at("x"), async () => {});
    assert.deepEqual(readdirSync(folder()), []);
  });

  test("leaves what another machine wrote an hour ago", async () => {
    const name = renamed(leave(), { machine: "01234567" });
    writeFileSync(at(name), "");
    utimesSync(at(name), hoursAgo(1), hoursAgo(1));
    await withTemporary(at("x"), async () => {});
    assert.deepEqual(readdirSync(folder()), [name]);
  });

  test("deletes what another machine left two days ago", async () => {
    const name = renamed(leave(), { machine: "01234567" });
    writeFileSync(at(name), "");
    utimesSync(at(name), hoursAgo(48), hoursAgo(48));
    await withTemporary(at("x"), async () => {});
    assert.deepEqual(readdirSync(folder()), []);
  });
});
