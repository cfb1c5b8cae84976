import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isDiskFull, writeDurably } from "../../src/data-folder/durable-file.js";
import { temporaryFolder } from "../support/folder.js";

describe("a durable file", () => {
  test("replaces the old one as a whole", async (t) => {
    const path = join(temporaryFolder(t), "file");
    writeFileSync(path, "old");
    await writeDurably(path, [Buffer.from("ne"), Buffer.from("w")]);
    assert.equal(readFileSync(path, "utf8"), "new");
  });

  test("that cannot take its name leaves nothing behind", async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(join(folder, "file", "taken"), { recursive: true });
    await assert.rejects(writeDurably(join(folder, "file"), [Buffer.from("new")]), { syscall: "rename" });
    assert.deepEqual(readdirSync(folder), ["file"]);
  });

  test("on a full disk is told from other errors", () => {
    assert.equal(isDiskFull(Object.assign(new Error(), { code: "ENOSPC" })), true);
    assert.equal(isDiskFull(Object.assign(new Error(), { code: "EACCES" })), false);
    assert.equal(isDiskFull(null), false);
  });
});
