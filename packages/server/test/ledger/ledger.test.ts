import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import Database from "better-sqlite3";
import { Ledger } from "../../src/ledger/ledger.js";
import { temporaryFolder } from "../support/folder.js";
import { newJob, newLedger } from "../support/ledger.js";

describe("a ledger", () => {
  test("writes several things together or not at all", (t) => {
    const ledger = newLedger(t);
    const job = newJob();
    const attempt = (): void =>
      ledger.write(() => {
        ledger.jobs.insert(job);
        throw new Error("no");
      });
    assert.throws(attempt, { message: "no" });
    assert.equal(ledger.jobs.find(job.id), null);
  });

  test("commits to the disk, with a journal that readers do not wait for", (t) => {
    const folder = temporaryFolder(t);
    newLedger(t, folder);
    const other = new Database(join(folder, "ledger.db"));
    t.after(() => other.close());
    assert.equal(other.pragma("journal_mode", { simple: true }), "wal");
  });

  test("of a newer version is refused with advice", (t) => {
    const folder = temporaryFolder(t);
    newLedger(t, folder);
    const other = new Database(join(folder, "ledger.db"));
    other.pragma("user_version = 99");
    other.close();
    assert.throws(() => newLedger(t, folder), { code: "unavailable", message: /newer version.*99.*update/ });
  });

  test("that is damaged is refused with advice", (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, "ledger.db"), "this is not a database".repeat(1000));
    assert.throws(() => new Ledger(join(folder, "ledger.db"), () => {}), {
      code: "unavailable",
      message: /damaged.*backup/,
    });
  });

  test("never gives out an event id twice, also after restarts", (t) => {
    const folder = temporaryFolder(t);
    let last = 0;
    for (let restart = 0; restart < 3; restart++) {
      const ledger = new Ledger(join(folder, "ledger.db"), () => {});
      for (let n = 0; n < 1500; n++) {
        const id = ledger.events.nextId();
        assert.ok(id > last);
        last = id;
      }
      ledger.close();
    }
  });

  test("never gives out an event id twice after a write that failed", (t) => {
    const folder = temporaryFolder(t);
    const first = new Ledger(join(folder, "ledger.db"), () => {});
    const failing = (): void =>
      first.write(() => {
        first.events.nextId();
        throw new Error("no");
      });
    assert.throws(failing, { message: "no" });
    const last = first.events.nextId();
    first.close();
    assert.ok(newLedger(t, folder).events.nextId() > last);
  });

  test("makes room and tries again when the disk is full", (t) => {
    const folder = temporaryFolder(t);
    let full = 0;
    const ledger = new Ledger(join(folder, "ledger.db"), () => full++);
    t.after(() => ledger.close());
    let tries = 0;
    const result = ledger.write(() => {
      if (++tries === 1) throw Object.assign(new Error("full"), { code: "SQLITE_FULL" });
      return "done";
    });
    assert.deepEqual([result, tries, full], ["done", 2, 1]);
  });

  test("is copied although another process never stops writing", async (t) => {
    const folder = temporaryFolder(t);
    const ledger = newLedger(t, folder);
    // More than the part that SQLite copies at once by default.
    const prompt = "x".repeat(1000);
    ledger.write(() => {
      for (let n = 0; n < 1000; n++) ledger.jobs.insert(newJob({ request: { prompt } }));
    });
    const other = new Database(join(folder, "ledger.db"));
    t.after(() => other.close());
    let copied = false;
    const written = (async () => {
      for (const deadline = Date.now() + 30_000; !copied && Date.now() < deadline; ) {
        other.prepare("INSERT OR REPLACE INTO settings VALUES ('other', ?)").run(Math.random());
        await new Promise(setImmediate);
      }
    })();
    const copying = ledger.copyTo(join(folder, "copy.db")).then(() => {
      copied = true;
    });
    await Promise.race([copying, written]);
    assert.equal(copied, true);
    await written;
  });
});
