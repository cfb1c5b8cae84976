import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { WorkerTokens } from "../../src/http/worker-tokens.js";
import { temporaryFolder } from "../support/folder.js";

const [first, second] = ["0123456789abcdef", "fedcba9876543210"] as const;

describe("the tokens of workers", () => {
  test("have names; comments and empty lines have none", (t) => {
    const file = join(temporaryFolder(t), "tokens");
    writeFileSync(file, `# machines\n\ngpu-1 ${first}\n  gpu-2\t${second}\n`);
    const tokens = new WorkerTokens(file, assert.fail);
    assert.deepEqual([tokens.nameOf(first), tokens.nameOf(second)], ["gpu-1", "gpu-2"]);
    assert.deepEqual([tokens.nameOf("gpu-1"), tokens.nameOf("")], [null, null]);
  });

  test("are good for nothing once their line is gone", (t) => {
    const file = join(temporaryFolder(t), "tokens");
    writeFileSync(file, `gpu-1 ${first}\ngpu-2 ${second}\n`);
    const tokens = new WorkerTokens(file, assert.fail);
    assert.equal(tokens.nameOf(first), "gpu-1");
    writeFileSync(file, `gpu-2 ${second}\n`);
    assert.deepEqual([tokens.nameOf(first), tokens.nameOf(second)], [null, "gpu-2"]);
  });

  test("are all refused while the file is missing or damaged, which is reported once", (t) => {
    const file = join(temporaryFolder(t), "tokens");
    writeFileSync(file, `gpu-1 ${first}\n`);
    const problems: string[] = [];
    const tokens = new WorkerTokens(file, (_message, error) => problems.push((error as Error).message));
    rmSync(file);
    assert.deepEqual([tokens.nameOf(first), tokens.nameOf(first), problems.length], [null, null, 1]);
    writeFileSync(file, `gpu-1 ${first}\n`);
    assert.equal(tokens.nameOf(first), "gpu-1");
    writeFileSync(file, "gpu-1\n");
    assert.equal(tokens.nameOf(first), null);
    assert.match(problems[1]!, /^Line 1 must be a name and a token of at least 16 characters/);
  });

  test("are refused at the start if two lines have the same", (t) => {
    const file = join(temporaryFolder(t), "tokens");
    writeFileSync(file, `gpu-1 ${first}\ngpu-2 ${first}\n`);
    assert.throws(() => new WorkerTokens(file, assert.fail), {
      message: "Line 2 repeats the token of another line.",
    });
  });
});
