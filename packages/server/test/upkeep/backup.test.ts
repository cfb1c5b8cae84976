import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Ledger } from "../../src/ledger/ledger.js";
import { backUp } from "../../src/upkeep/backup.js";
import { temporaryFolder } from "../support/folder.js";
import { openService, submitted } from "../support/service.js";
import { ServiceProcess } from "../support/service-process.js";
import { longJob } from "../support/slow-steps.js";

/** Extracts an archive with the tool that people have. @returns the folder. */
function extracted(archive: string, folder: string): string {
  mkdirSync(folder);
  execFileSync("tar", ["-xf", archive, "-C", folder]);
  return folder;
}

describe("a backup", () => {
  test("has all jobs and files, and continues the jobs that had not ended", async (t) => {
    const folder = temporaryFolder(t);
    const service = await openService(t, { folder: join(folder, "data") });
    const done = await service.finished(await submitted(service));
    await service.queue.pause();
    const waiting = await submitted(service, { seed: 8 });
    await service.backup(join(folder, "backup.tar"));
    const copy = await openService(t, {
      folder: extracted(join(folder, "backup.tar"), join(folder, "copy")),
    });
    assert.deepEqual(copy.get(done.id), done);
    assert.deepEqual(await copy.results.image(done.id), await service.results.image(done.id));
    await copy.queue.resume();
    assert.equal((await copy.finished(waiting)).state, "succeeded");
  });

  test("can be made by another process while a server works", async (t) => {
    const folder = temporaryFolder(t);
    const data = join(folder, "data");
    const server = await ServiceProcess.open(t, data, { slow: true });
    const id = await server.submit({});
    await server.event(({ event }) => event === "succeeded");
    const running = await server.submit(longJob.request);
    await server.event(({ event, data: about }) => event === "step" && about.job === running);
    await backUp(data, join(folder, "backup.tar"));
    const copy = await openService(t, {
      folder: extracted(join(folder, "backup.tar"), join(folder, "copy")),
    });
    assert.equal(copy.get(id).state, "succeeded");
    assert.ok((await copy.results.image(id)).bytes.length > 0);
    assert.equal((await copy.finished(running)).state, "succeeded");
  });

  test("that fails leaves no archive, not even a partial one", async (t) => {
    const folder = temporaryFolder(t);
    await assert.rejects(backUp(join(folder, "nothing"), join(folder, "backup.tar")), {
      code: "unavailable",
    });
    assert.equal(existsSync(join(folder, "nothing")), false);
    assert.deepEqual(readdirSync(folder), []);
  });

  test("to a place that cannot be written ends with a sentence, and holds nothing up", async (t) => {
    const folder = temporaryFolder(t);
    const data = join(folder, "data");
    const service = await openService(t, { folder: data });
    await service.close();
    await assert.rejects(backUp(data, join(folder, "nowhere", "backup.tar")), {
      name: "OutputError",
      message: /could not be made: it does not exist\.$/,
    });
    const ledger = new Ledger(join(data, "ledger.db"), () => {});
    t.after(() => ledger.close());
    assert.equal(ledger.settings.backupUntil, 0);
  });
});
