import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { photo } from "../support/pictures.js";
import { generation, openService, submitted } from "../support/service.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

/** A file system of 24 MB, or null where this user may not mount one. */
function smallDisk(t: TestContext): string | null {
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-disk-"));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], {
    stdio: "ignore",
  });
  t.after(() => {
    // Lazily: the service that uses it is closed after this.
    if (status === 0) execFileSync("umount", ["--lazy", folder]);
    rmdirSync(folder);
  });
  return status === 0 ? folder : null;
}

/** Fills a disk to the last byte. @returns a function that frees it again. */
function fill(folder: string): () => void {
  const path = join(folder, "filler");
  const file = openSync(path, "w");
  for (let size = 2 ** 20; size >= 1; ) {
    try {
      writeSync(file, Buffer.alloc(size));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      size = Math.floor(size / 2);
    }
  }
  closeSync(file);
  return () => rmSync(path);
}

describe("a service on a full disk", () => {
  test("fails jobs and refuses requests, and recovers once there is space again", async (t) => {
    const folder = smallDisk(t);
    if (folder === null) return t.skip("needs the right to mount a file system");
    const service = await openService(t, { folder, env: { ...process.env, ...slowSteps } });
    await service.queue.pause();
    const failing = await submitted(service, longJob.request);
    const body = await generation(service);
    const free = fill(folder);
    await service.queue.resume();
    const job = await service.finished(failing);
    assert.deepEqual([job.state, job.error?.code], ["failed", "disk_full"]);
    await assert.rejects(service.submit(body), { code: "disk_full" });
    await assert.rejects(service.blobs.put(photo()), { code: "disk_full" });
    assert.equal((await service.health()).ready, false);
    free();
    assert.equal((await service.health()).ready, true);
    const { job: next } = await service.submit(body);
    assert.equal((await service.finished(next.id)).state, "succeeded");
    assert.equal((await service.health()).ready, true);
  });

  test("is not ready, although it still holds its reserve", async (t) => {
    const folder = smallDisk(t);
    if (folder === null) return t.skip("needs the right to mount a file system");
    const service = await openService(t, { folder });
    const free = fill(folder);
    await assert.rejects(service.blobs.put(photo()), { code: "disk_full" });
    const checks = { ledger: "ok", disk: "The disk is full." };
    assert.deepEqual(await service.health(), { ready: false, checks });
    free();
    assert.equal((await service.health()).ready, true);
  });
});
