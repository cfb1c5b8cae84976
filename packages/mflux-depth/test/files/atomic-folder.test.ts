import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { OutputError } from "../../src/errors.js";
import { checkDiskSpace, checkNewFolder, writeFolder } from "../../src/files/atomic-folder.js";
import { folderPerTest } from "../support/folders.js";

const currentFolder = folderPerTest("atomic-folder");
let parent = "";
let target = "";
beforeEach(() => {
  parent = currentFolder();
  target = join(parent, "model");
});

const refusal = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof OutputError, String(error));
  assert.match(error.message, message);
  return true;
};

describe("checkNewFolder", () => {
  test("accepts a name that is free", () => checkNewFolder(target));

  test("accepts an empty folder", async () => {
    mkdirSync(target);
    await checkNewFolder(target);
  });

  test("refuses a folder that is not empty", async () => {
    mkdirSync(target);
    writeFileSync(join(target, "mine"), "");
    await assert.rejects(checkNewFolder(target), refusal(/not empty/));
  });

  test("refuses a file", async () => {
    writeFileSync(target, "");
    await assert.rejects(checkNewFolder(target), refusal(/a file of this name/));
  });

  test("refuses a place in a folder that does not exist", async () => {
    await assert.rejects(
      checkNewFolder(join(target, "a", "b")),
      refusal(/the parent folder .*a does not exist/),
    );
  });
});

describe("checkNewFolder in a folder of others", {
  skip: process.getuid?.() === 0 && "root may write everywhere",
}, () => {
  for (const mode of [0o000, 0o500])
    test(`refuses one with mode ${mode.toString(8)}`, async () => {
      chmodSync(parent, mode);
      await assert.rejects(checkNewFolder(target), refusal(/you do not have permission to write to /));
      chmodSync(parent, 0o700);
    });
});

describe("checkNewFolder with long names", () => {
  test("accepts a name of 255 bytes", () => checkNewFolder(join(parent, "m".repeat(255))));

  test("refuses a name of 256 bytes", () =>
    assert.rejects(checkNewFolder(join(parent, "m".repeat(256))), refusal(/the name is too long/)));
});

describe("checkDiskSpace", () => {
  test("accepts a size that fits", () => checkDiskSpace(target, 1));

  test("refuses a size that does not fit", async () => {
    await assert.rejects(
      checkDiskSpace(target, 1e18),
      refusal(/needs 1000000000\.0 GB, but the disk has only/),
    );
  });
});

describe("writeFolder", () => {
  test("gives the folder its name when it is filled", async () => {
    let during: string[] = [];
    await writeFolder(target, async (folder) => {
      mkdirSync(join(folder, "vae"));
      writeFileSync(join(folder, "vae", "config.json"), "{}");
      during = readdirSync(parent);
    });
    assert.equal(during.length, 1);
    assert.match(during[0]!, /\.partial$/);
    assert.deepEqual(readdirSync(parent), ["model"]);
    assert.equal(readFileSync(join(target, "vae", "config.json"), "utf8"), "{}");
  });

  test("takes the place of an empty folder", async () => {
    mkdirSync(target);
    await writeFolder(target, async (folder) => writeFileSync(join(folder, "a"), ""));
    assert.deepEqual(readdirSync(target), ["a"]);
  });

  test("leaves nothing when filling fails, and passes the error on", async () => {
    const failure = new Error("no more");
    const failing = writeFolder(target, async (folder) => {
      writeFileSync(join(folder, "a"), "");
      throw failure;
    });
    await assert.rejects(failing, (error) => error === failure);
    assert.deepEqual(readdirSync(parent), []);
  });

  test("turns an error of the file system into an OutputError about the folder", async () => {
    const failing = writeFolder(target, async (folder) => writeFileSync(join(folder, "a", "b"), ""));
    await assert.rejects(failing, refusal(/model: it cannot be written \(ENOENT/));
  });

  test("says that the disk is full", async () => {
    const full = Object.assign(new Error("no space"), { code: "ENOSPC", syscall: "write" });
    await assert.rejects(
      writeFolder(target, () => Promise.reject(full)),
      refusal(/the disk is full \(ENOSPC\)/),
    );
  });

  test("refuses a folder that another program has filled in the meantime", () =>
    assert.rejects(
      writeFolder(target, async () => {
        mkdirSync(target);
        writeFileSync(join(target, "a"), "");
      }),
      refusal(/another program has written into this folder in the meantime; choose a new one\./),
    ));

  test("fills the folder that a link leads to", async () => {
    mkdirSync(join(parent, "disk"));
    symlinkSync("disk", target);
    await writeFolder(target, async (folder) => writeFileSync(join(folder, "a"), ""));
    assert.deepEqual(readdirSync(join(parent, "disk")), ["a"]);
    assert.equal(readlinkSync(target), "disk");
  });
});
