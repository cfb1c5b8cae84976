import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import {
  type FileProblem,
  FileReadError,
  readRegularFile,
  readRegularFileSync,
} from "../../src/files/read.js";
import { folderPerTest } from "../support/folders.js";
import { makePipe, withoutPipes } from "../support/pipes.js";

const current = folderPerTest("read");
let file = (_: string): string => "";
beforeEach(() => {
  file = (name) => join(current(), name);
});

const readers: [string, (path: string, limit: number, milliseconds?: number) => Promise<Buffer>][] = [
  ["readRegularFile", (path, limit, milliseconds) => readRegularFile(path, { limit, milliseconds })],
  [
    "readRegularFileSync",
    async (path, limit, milliseconds) => readRegularFileSync(path, limit, milliseconds),
  ],
];

for (const [name, read] of readers)
  describe(name, () => {
    const refuses = (path: string, limit: number, problem: FileProblem): Promise<void> =>
      assert.rejects(read(path, limit), (error) => {
        assert.ok(error instanceof FileReadError, String(error));
        assert.equal(error.problem, problem);
        return true;
      });

    for (const length of [0, 1, 3_000_000])
      test(`reads a file of ${length} bytes`, async () => {
        const bytes = Buffer.alloc(length, "abc");
        writeFileSync(file("a"), bytes);
        assert.ok((await read(file("a"), length)).equals(bytes));
      });

    test("refuses a file beyond the limit", async () => {
      writeFileSync(file("a"), Buffer.alloc(11));
      await refuses(file("a"), 10, "too-large");
    });

    test("gives a file up that comes too slowly", async () => {
      writeFileSync(file("a"), Buffer.alloc(200e6));
      await assert.rejects(read(file("a"), 1e9, 1), (error) => {
        assert.ok(error instanceof FileReadError, String(error));
        assert.deepEqual([error.problem, error.message], ["too-slow", "did not arrive within 0 s"]);
        return true;
      });
    });

    test("refuses a missing file", () => refuses(file("a"), 10, "missing"));

    test("refuses a folder", async () => {
      mkdirSync(file("a"));
      await refuses(file("a"), 10, "folder");
    });

    test("refuses a pipe without waiting for a writer", { skip: withoutPipes, timeout: 5000 }, async () => {
      makePipe(file("a"));
      await refuses(file("a"), 10, "not-regular");
    });

    test("refuses an endless device", { skip: withoutPipes, timeout: 5000 }, () =>
      refuses("/dev/zero", 1e9, "not-regular"),
    );

    test("reads no more than the limit of a file that hides its size", {
      skip: process.platform !== "linux" && "needs /proc",
    }, async () => {
      // The system says 0 bytes, and gives some thousand.
      assert.ok((await read("/proc/self/status", 1e6)).length > 100);
      await refuses("/proc/self/status", 100, "too-large");
    });
  });

describe("readRegularFile", () => {
  test("rejects with the signal's reason", async () => {
    writeFileSync(file("a"), "abc");
    const reason = new Error("stopped");
    await assert.rejects(
      readRegularFile(file("a"), { limit: 10, signal: AbortSignal.abort(reason) }),
      reason,
    );
  });
});
