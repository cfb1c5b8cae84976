import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { OutputError } from "../../src/errors.js";
import { checkWritable, saveFile } from "../../src/files/output.js";

let folder: string;
const at = (name: string): string => join(folder, name);
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mflux-depth-output-"));
});
after(() => rm(folder, { recursive: true, force: true }));

describe("saveFile", () => {
  test("gives each of several files a name of its own", async () => {
    await mkdir(at("out"));
    const places = await Promise.all(
      Array.from({ length: 5 }, (_, i) => saveFile(at("out/x.png"), `${i}`, { overwrite: false })),
    );
    assert.deepEqual(
      places.toSorted(),
      ["x.png", "x_1.png", "x_2.png", "x_3.png", "x_4.png"].map((name) => at(`out/${name}`)),
    );
    for (const [i, place] of places.entries()) assert.equal(await readFile(place, "utf8"), `${i}`);
    assert.equal((await readdir(at("out"))).length, 5, "no temporary files are left");
  });

  test("replaces a file unless told not to", async () => {
    await saveFile(at("replaced"), "old");
    assert.equal(await saveFile(at("replaced"), "new"), at("replaced"));
    assert.equal(await readFile(at("replaced"), "utf8"), "new");
  });

  test("reports a missing folder", () => assert.rejects(saveFile(at("none/x.png"), "x"), OutputError));

  test("reports a folder in the file's place", async () => {
    await mkdir(at("folder"));
    await assert.rejects(
      saveFile(at("folder"), "x"),
      (error) => error instanceof OutputError && /is a folder/.test(error.message),
    );
  });
});

describe("checkWritable", () => {
  test("refuses a place in a missing folder", () =>
    assert.rejects(checkWritable(at("none/x.png")), /folder .*none does not exist; create it first/));

  test("refuses a folder", async () => {
    await mkdir(at("checked"));
    await assert.rejects(checkWritable(at("checked")), /is a folder/);
  });

  test("refuses a place inside a file", async () => {
    await saveFile(at("a-file"), "x");
    await assert.rejects(checkWritable(at("a-file/y.png")), /is not a folder|does not exist/);
  });

  test("accepts a new file", () => checkWritable(at("new.png")));
});
