import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { lstatSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
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
  test("gives each of several files a different name", async () => {
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

describe("saveFile through a link", () => {
  test("replaces the target", async () => {
    await writeFile(at("target"), "old");
    await symlink("target", at("to-target"));
    assert.equal(await saveFile(at("to-target"), "new"), at("to-target"));
    assert.deepEqual(
      [await readFile(at("target"), "utf8"), await readlink(at("to-target"))],
      ["new", "target"],
    );
  });

  test("makes a target that does not exist", async () => {
    await mkdir(at("elsewhere"));
    await symlink("elsewhere/made", at("to-made"));
    await saveFile(at("to-made"), "new");
    assert.equal(await readFile(at("elsewhere/made"), "utf8"), "new");
    assert.ok(lstatSync(at("to-made")).isSymbolicLink());
  });

  test("keeps link and target without overwrite", async () => {
    await writeFile(at("kept"), "old");
    await symlink("kept", at("to-kept"));
    assert.equal(await saveFile(at("to-kept"), "new", { overwrite: false }), at("to-kept_1"));
    assert.equal(await readFile(at("kept"), "utf8"), "old");
  });

  test("names the missing folder that a link leads into", async () => {
    await symlink("nowhere/made", at("into-nowhere"));
    const refused = /into-nowhere: the folder \/.*\/nowhere does not exist/;
    await assert.rejects(saveFile(at("into-nowhere"), "x"), refused);
    await assert.rejects(checkWritable(at("into-nowhere")), refused);
  });

  test("refuses a circle of links", async () => {
    await symlink("circle", at("circle"));
    await assert.rejects(saveFile(at("circle"), "x"), /circle: is a link that leads back to itself/);
  });
});

describe("saveFile with long names", () => {
  const longest = `${"ü".repeat(125)}x.png`;

  test("accepts 255 bytes", async () => {
    assert.equal(Buffer.byteLength(longest), 255);
    assert.equal(await saveFile(at(longest), "1", { overwrite: false }), at(longest));
  });

  test("cuts the name to make room for a number", async () => {
    const path = await saveFile(at(longest), "2", { overwrite: false });
    assert.equal(path, at(`${"ü".repeat(124)}_1.png`));
    assert.equal(await readFile(path, "utf8"), "2");
  });
});

describe("saveFile with a companion", () => {
  const companion = (bytes: string) => ({
    pathFor: (path: string) => path.replace(/\.[^.]*$/, ".json"),
    bytes,
  });
  const read = (name: string): Promise<string> => readFile(at(name), "utf8");

  test("writes both", async () => {
    await saveFile(at("pair.png"), "image", { companion: companion("facts") });
    assert.deepEqual([await read("pair.png"), await read("pair.json")], ["image", "facts"]);
  });

  test("keeps another file's companion", async () => {
    await saveFile(at("a.png"), "png", { overwrite: false, companion: companion("of png") });
    const path = await saveFile(at("a.jpg"), "jpg", { overwrite: false, companion: companion("of jpg") });
    assert.equal(path, at("a_1.jpg"));
    assert.deepEqual([await read("a.json"), await read("a_1.json")], ["of png", "of jpg"]);
  });

  test("leaves no companion under a name that the file cannot have", async () => {
    await writeFile(at("b.png"), "taken");
    const path = await saveFile(at("b.png"), "image", { overwrite: false, companion: companion("facts") });
    assert.equal(path, at("b_1.png"));
    assert.deepEqual((await readdir(folder)).filter((name) => name.startsWith("b")).sort(), [
      "b.png",
      "b_1.json",
      "b_1.png",
    ]);
  });

  test("cuts long names so that the companion's name fits", async () => {
    const companionOf = {
      pathFor: (path: string) => path.replace(/\.png$/, ".metadata.json"),
      bytes: "facts",
    };
    const name = `${"n".repeat(241)}.png`;
    const options = { overwrite: false, companion: companionOf };
    await saveFile(at(name), "1", options);
    assert.equal(await saveFile(at(name), "2", options), at(`${"n".repeat(239)}_1.png`));
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

  test("leaves nothing", async () => {
    const before = await readdir(folder);
    await checkWritable(at("new.png"));
    assert.deepEqual(await readdir(folder), before);
  });

  test("accepts a name of 255 bytes", () => checkWritable(at("n".repeat(255))));

  test("refuses a name of 256 bytes", () =>
    assert.rejects(checkWritable(at("n".repeat(256))), /the name is too long; use at most 255 bytes/));

  test("refuses a place in a folder that accepts no files", { skip: process.platform !== "linux" }, () =>
    assert.rejects(checkWritable("/proc/x.png"), OutputError),
  );

  test("refuses a pipe", {
    skip: process.platform === "win32" && "Windows has no named pipes in folders",
  }, async () => {
    execFileSync("mkfifo", [at("pipe")]);
    await assert.rejects(checkWritable(at("pipe")), /is not a regular file/);
  });
});
