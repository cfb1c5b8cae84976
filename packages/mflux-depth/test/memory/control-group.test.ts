import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { controlGroup } from "../../src/memory/control-group.js";
import { folderPerTest } from "../support/folders.js";

const current = folderPerTest("control-group");
let root = "";
beforeEach(() => {
  root = current();
});

function write(files: Readonly<Record<string, string | number>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${content}\n`);
  }
}

const processIn = (line: string): void => write({ "proc/self/cgroup": line });

describe("the control group of this process", () => {
  test("is null on systems without control groups", () => {
    assert.equal(controlGroup(root), null);
  });

  test("is null where memory is unlimited", () => {
    processIn("0::/app");
    write({ "sys/fs/cgroup/app/memory.max": "max", "sys/fs/cgroup/app/memory.current": 10 });
    assert.equal(controlGroup(root), null);
  });

  test("has the limit of its own group in version 2, and counts file caches as free", () => {
    processIn("0::/user/app");
    write({
      "sys/fs/cgroup/user/app/memory.max": 1000,
      "sys/fs/cgroup/user/app/memory.current": 600,
      "sys/fs/cgroup/user/app/memory.stat": "anon 1\ninactive_file 150",
    });
    assert.deepEqual(controlGroup(root), { limit: 1000, free: 550 });
  });

  test("has the limit of a parent group if that leaves less", () => {
    processIn("0::/user/app");
    write({
      "sys/fs/cgroup/user/app/memory.max": 1000,
      "sys/fs/cgroup/user/app/memory.current": 100,
      "sys/fs/cgroup/user/memory.max": 2000,
      "sys/fs/cgroup/user/memory.current": 1900,
    });
    assert.deepEqual(controlGroup(root), { limit: 2000, free: 100 });
  });

  test("is the root inside a container, whatever path the host gave it", () => {
    processIn("0::/../../docker/abc");
    write({ "sys/fs/cgroup/memory.max": 500, "sys/fs/cgroup/memory.current": 200 });
    assert.deepEqual(controlGroup(root), { limit: 500, free: 300 });
  });

  test("is read from the memory controller in version 1", () => {
    processIn("7:cpu,cpuacct:/app\n4:memory:/app");
    write({
      "sys/fs/cgroup/memory/app/memory.limit_in_bytes": 800,
      "sys/fs/cgroup/memory/app/memory.usage_in_bytes": 500,
      "sys/fs/cgroup/memory/app/memory.stat": "inactive_file 999\ntotal_inactive_file 100",
    });
    assert.deepEqual(controlGroup(root), { limit: 800, free: 400 });
  });

  test("is null where version 1 writes a limit beyond the machine's memory", () => {
    processIn("4:memory:/");
    write({ "sys/fs/cgroup/memory/memory.limit_in_bytes": totalmem() * 1000 });
    assert.equal(controlGroup(root), null);
  });
});
