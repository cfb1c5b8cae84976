import assert from "node:assert/strict";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isFolder, makeFolders } from "../../src/files/folders.js";
import { folderPerTest } from "../support/folders.js";

const folder = folderPerTest("folders");
const at = (name: string): string => join(folder(), name);

describe("isFolder", () => {
  test("accepts a folder, through a link too", () => {
    symlinkSync(folder(), at("link"));
    assert.ok(isFolder(folder()) && isFolder(at("link")));
  });

  test("refuses a file, and a path inside a file", () => {
    writeFileSync(at("file"), "");
    assert.ok(!isFolder(at("file")) && !isFolder(at("file/inside")));
  });

  test("refuses a missing path", () => assert.ok(!isFolder(at("none"))));

  test("refuses a path that is too long to look at", () => assert.ok(!isFolder(at("x".repeat(5000)))));
});

describe("makeFolders", () => {
  test("creates a folder with its parents", async () => {
    await makeFolders(at("a/b/c"));
    assert.ok(isFolder(at("a/b/c")));
  });

  test("accepts an existing folder", () => makeFolders(folder()));

  test("creates the same folder twice at a time", async () => {
    await Promise.all([makeFolders(at("a/b")), makeFolders(at("a/b"))]);
    assert.ok(isFolder(at("a/b")));
  });

  test("reports a file in the way", async () => {
    writeFileSync(at("file"), "");
    await assert.rejects(makeFolders(at("file/inside")), { syscall: "mkdir" });
  });

  const linuxOnly = { skip: process.platform !== "linux", timeout: 60_000 };
  test("reports a folder that accepts no entries", linuxOnly, () =>
    assert.rejects(makeFolders("/proc/none/of/this"), { code: "ENOENT" }),
  );
});
