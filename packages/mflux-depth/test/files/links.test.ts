import assert from "node:assert/strict";
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { followLinks } from "../../src/files/links.js";
import { folderPerTest } from "../support/folders.js";

const current = folderPerTest("links");
const inFolder = (...parts: string[]): string => join(realpathSync(current()), ...parts);

describe("followLinks", () => {
  test("returns a path that is not a link unchanged", async () => {
    writeFileSync(inFolder("file"), "");
    for (const name of ["file", "missing", join("missing", "file")])
      assert.equal(await followLinks(inFolder(name)), inFolder(name));
  });

  test("follows a chain of links, also to a file that does not exist", async () => {
    symlinkSync("second", inFolder("first"));
    symlinkSync("target", inFolder("second"));
    assert.equal(await followLinks(inFolder("first")), inFolder("target"));
  });

  test("follows a relative link from its real folder, which may itself be reached by a link", async () => {
    mkdirSync(inFolder("disk", "pictures"), { recursive: true });
    symlinkSync(join("disk", "pictures"), inFolder("pictures"));
    symlinkSync(join("..", "latest.png"), inFolder("disk", "pictures", "image.png"));
    assert.equal(await followLinks(inFolder("pictures", "image.png")), inFolder("disk", "latest.png"));
  });

  test("refuses links in a circle", async () => {
    symlinkSync("b", inFolder("a"));
    symlinkSync("a", inFolder("b"));
    await assert.rejects(followLinks(inFolder("a")), { code: "ELOOP" });
  });
});
