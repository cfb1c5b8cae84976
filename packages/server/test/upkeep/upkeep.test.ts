import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { Blobs } from "../../src/blobs/blobs.js";
import { FileStore } from "../../src/blobs/file-store.js";
import { History } from "../../src/history/history.js";
import type { Ledger } from "../../src/ledger/ledger.js";
import { Upkeep, type UpkeepOptions } from "../../src/upkeep/upkeep.js";
import { Checkpoints } from "../../src/work/checkpoints.js";
import { newReserve, temporaryFolder } from "../support/folder.js";
import { newJob, newLedger } from "../support/ledger.js";
import { photo } from "../support/pictures.js";

const dayMs = 86_400_000;
const now = 100 * dayMs;

/** A ledger with files, without an engine: jobs are only recorded. */
class Kept {
  readonly ledger: Ledger;
  readonly history: History;
  readonly files: FileStore;
  readonly blobs: Blobs;
  readonly checkpoints: Checkpoints;

  private constructor(t: TestContext, folder: string) {
    const reserve = newReserve(t);
    this.ledger = newLedger(t, folder);
    this.history = new History(this.ledger);
    t.after(() => this.history.close());
    this.files = new FileStore(join(folder, "files"), reserve);
    this.blobs = new Blobs(this.ledger, this.files);
    this.checkpoints = new Checkpoints(join(folder, "checkpoints"), reserve);
  }

  static async make(t: TestContext): Promise<Kept> {
    const kept = new Kept(t, temporaryFolder(t));
    await Promise.all([kept.files.open(), kept.checkpoints.open()]);
    return kept;
  }

  /** Adds a finished job with an image of some bytes. @returns its id. */
  async finished(finishedAt: number, { bytes = 10, blobs = [] as readonly string[] } = {}): Promise<string> {
    const job = newJob();
    this.history.submitted(job, blobs);
    this.history.started(job.id, 1, "w", finishedAt);
    using file = await this.files.add(Buffer.from(job.id.padEnd(bytes)));
    const artifact = {
      name: "image-1",
      sha256: file.sha256,
      bytes,
      mime: "image/png",
      width: 1,
      height: 1,
      seed: 7,
      score: null,
    };
    this.history.finished(job.id, 1, { state: "succeeded", artifacts: [artifact] }, finishedAt);
    return job.id;
  }

  /** Adds an uploaded picture. @returns its hash. */
  async blob(at: number): Promise<string> {
    using file = await this.files.add(Buffer.from("a photo"));
    this.ledger.files.addBlob(
      { ...file, sha256: file.sha256, bytes: file.bytes, mime: "image/png", width: 1, height: 1 },
      at,
    );
    return file.sha256;
  }

  has(id: string): boolean {
    return this.ledger.jobs.find(id) !== null;
  }

  fileOf(id: string): string {
    return this.files.pathOf(this.ledger.files.artifactsOf(id)[0]!.sha256);
  }

  upkeep(options: UpkeepOptions = {}): void {
    new Upkeep(this, options).run(now);
  }

  sweep(): Promise<void> {
    return new Upkeep(this, {}).sweep(now);
  }
}

describe("upkeep", () => {
  test("keeps everything by default", async (t) => {
    const kept = await Kept.make(t);
    const id = await kept.finished(0);
    kept.upkeep();
    assert.equal(existsSync(kept.fileOf(id)), true);
  });

  test("deletes jobs that ended too many days ago, with their files, but none that is starred", async (t) => {
    const kept = await Kept.make(t);
    const old = await kept.finished(now - 3 * dayMs - 1);
    const starred = await kept.finished(now - 3 * dayMs - 1);
    const recent = await kept.finished(now - 3 * dayMs + 1);
    kept.history.starred(starred, true);
    const file = kept.fileOf(old);
    kept.upkeep({ keepDays: 3 });
    assert.deepEqual(
      [old, starred, recent].map((id) => kept.has(id)),
      [false, true, true],
    );
    assert.equal(existsSync(file), false);
    assert.equal(existsSync(kept.fileOf(starred)), true);
  });

  test("deletes the oldest jobs while their files take too much, but none that is starred", async (t) => {
    const kept = await Kept.make(t);
    const ids = [];
    for (let n = 0; n < 4; n++) ids.push(await kept.finished(n, { bytes: 1000 }));
    kept.history.starred(ids[0]!, true);
    kept.upkeep({ keepGb: 2500 / 1e9 });
    assert.deepEqual(
      ids.map((id) => kept.has(id)),
      [true, false, false, true],
    );
  });

  test("never deletes jobs that have not ended", async (t) => {
    const kept = await Kept.make(t);
    const job = newJob();
    kept.history.submitted(job, []);
    kept.upkeep({ keepDays: 0, keepGb: 0 });
    assert.equal(kept.has(job.id), true);
  });

  test("deletes a blob one day after the last job that used it, or after its upload", async (t) => {
    const kept = await Kept.make(t);
    const sha256 = await kept.blob(0);
    const path = kept.files.pathOf(sha256);
    const id = await kept.finished(0, { blobs: [sha256] });
    kept.upkeep();
    assert.equal(existsSync(path), true, "while a job uses it");
    kept.history.deleted(id, now - dayMs + 1);
    kept.upkeep();
    assert.equal(existsSync(path), true, "within a day");
    new Upkeep(kept, {}).run(now + 2);
    assert.equal(existsSync(path), false, "after a day");
    assert.equal(kept.ledger.files.findBlob(sha256), null);
  });

  test("keeps a picture while a request holds it, and deletes what a killed process held", async (t) => {
    const kept = await Kept.make(t);
    const { blob } = await kept.blobs.lend(photo());
    const hash = blob.id.replace("sha256-", "");
    kept.upkeep();
    assert.notEqual(kept.ledger.files.findBlob(hash), null);
    const next = new Upkeep({ ...kept, blobs: new Blobs(kept.ledger, kept.files) }, {});
    next.run(now);
    assert.equal(existsSync(kept.files.pathOf(hash)), false);
  });

  test("keeps a blob that was uploaded again", async (t) => {
    const kept = await Kept.make(t);
    const sha256 = await kept.blob(0);
    await kept.blob(now - 1);
    kept.upkeep();
    assert.notEqual(kept.ledger.files.findBlob(sha256), null);
  });

  test("deletes files that a killed process left, and checkpoints of jobs that have ended", async (t) => {
    const kept = await Kept.make(t);
    const orphan = await kept.files.add(Buffer.from("orphan"));
    orphan[Symbol.dispose]();
    const id = await kept.finished(0);
    await kept.checkpoints.save(id, 1, {
      step: 2,
      fingerprint: "",
      latents: { data: new Float32Array(4), shape: [1, 1, 2, 2] },
      depthMap: null,
    });
    await kept.sweep();
    assert.equal(existsSync(kept.files.pathOf(orphan.sha256)), false);
    assert.equal(await kept.checkpoints.latest(id), null);
  });

  test("deletes no file while a backup copies them", async (t) => {
    const kept = await Kept.make(t);
    const file = kept.fileOf(await kept.finished(0));
    kept.ledger.settings.holdFiles(now + 1);
    kept.upkeep({ keepDays: 1 });
    assert.equal(existsSync(file), true);
    kept.ledger.settings.holdFiles(now);
    await kept.sweep();
    assert.equal(existsSync(file), false);
  });
});
