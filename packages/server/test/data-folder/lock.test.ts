import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { lockFolder } from "../../src/data-folder/lock.js";
import { temporaryFolder } from "../support/folder.js";

const holder = fileURLToPath(new URL("../support/holder.js", import.meta.url));
const taken = { code: "unavailable", message: /Another server uses this data folder/ };

describe("the lock of a data folder", () => {
  test("refuses a second holder in the same process, until the first releases it", (t) => {
    const folder = temporaryFolder(t);
    const unlock = lockFolder(folder);
    assert.throws(() => lockFolder(folder), taken);
    unlock();
    lockFolder(folder)();
  });

  test("refuses other processes, and is released when its process is killed", async (t) => {
    const folder = temporaryFolder(t);
    const other = fork(holder, [folder]);
    t.after(() => other.kill("SIGKILL"));
    await once(other, "message");
    assert.throws(() => lockFolder(folder), taken);
    other.kill("SIGKILL");
    await once(other, "exit");
    lockFolder(folder)();
  });
});
