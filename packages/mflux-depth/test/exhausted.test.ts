import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const child = fileURLToPath(new URL("support/exhausted-child.js", import.meta.url));

test("processes that cannot be started for lack of file descriptors are one sentence each", async () => {
  const script = `ulimit -n 80; exec "$0" "$1"`;
  const { stdout } = await promisify(execFile)("bash", ["-c", script, process.execPath, child]);
  const [photo, generation, depth, download, ...rest] = stdout.trim().split("\n");
  assert.match(photo!, /^ImageError: the photo: its decoder could not be started \(.*EMFILE\)\.$/);
  assert.match(generation!, /^EngineError: The engine process could not be started\.$/);
  assert.match(
    depth!,
    /^EngineError: The process that estimates depth and memory ended unexpectedly; try again\.$/,
  );
  assert.match(download!, /^EngineError: The process that manages the model cache .*EMFILE.*; try again\.$/);
  assert.deepEqual(rest, []);
});
