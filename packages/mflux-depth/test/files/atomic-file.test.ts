import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { replaceFile } from "../../src/files/atomic-file.js";
import { folderPerTest } from "../support/folders.js";

const folder = folderPerTest("atomic");
const at = (name: string): string => join(folder(), name);

describe("replaceFile", () => {
  test("replaces a file", async () => {
    writeFileSync(at("x"), "old");
    await replaceFile(at("x"), async (temporary) => writeFileSync(temporary, "new"));
    assert.equal(readFileSync(at("x"), "utf8"), "new");
    assert.deepEqual(readdirSync(folder()), ["x"]);
  });

  test("replaces a link, not its target", async () => {
    writeFileSync(at("target"), "target");
    symlinkSync("target", at("x"));
    await replaceFile(at("x"), async (temporary) => symlinkSync("other", temporary));
    assert.equal(readlinkSync(at("x")), "other");
    assert.equal(readFileSync(at("target"), "utf8"), "target");
  });

  test("leaves the old file and nothing else if making the new one fails", async () => {
    writeFileSync(at("x"), "old");
    const failed = replaceFile(at("x"), async (temporary) => {
      writeFileSync(temporary, "half");
      throw new Error("failed");
    });
    await assert.rejects(failed, /failed/);
    assert.equal(readFileSync(at("x"), "utf8"), "old");
    assert.deepEqual(readdirSync(folder()), ["x"]);
  });
});
