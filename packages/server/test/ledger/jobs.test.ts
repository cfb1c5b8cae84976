import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Jobs, NewJob } from "../../src/ledger/jobs.js";
import { newJob, newLedger } from "../support/ledger.js";

function jobsWith(t: TestContext, ...given: readonly Partial<NewJob>[]): { jobs: Jobs; ids: string[] } {
  const { jobs } = newLedger(t);
  const added = given.map((facts) => newJob(facts));
  for (const job of added) jobs.insert(job);
  return { jobs, ids: added.map(({ id }) => id) };
}

describe("the table of jobs", () => {
  test("returns a job as it was inserted", (t) => {
    const facts = {
      request: { prompt: "ä\u0000b", steps: 3 },
      metadata: { order: "A-17" },
      warnings: ["hm"],
    };
    const { jobs, ids } = jobsWith(t, facts);
    const { request, metadata, warnings, state, attempt } = jobs.find(ids[0]!)!;
    assert.deepEqual({ request, metadata, warnings }, facts);
    assert.deepEqual([state, attempt], ["queued", 0]);
  });

  test("pages through jobs, newest first, while others arrive", (t) => {
    const { jobs, ids } = jobsWith(t, {}, {}, {}, {}, {});
    const first = jobs.page({ limit: 2 });
    jobs.insert(newJob());
    const second = jobs.page({ limit: 2, cursor: first.nextCursor! });
    const third = jobs.page({ limit: 2, cursor: second.nextCursor! });
    const seen = [first, second, third].flatMap((page) => page.jobs.map(({ id }) => id));
    assert.deepEqual(seen, [...ids].reverse());
    assert.equal(third.nextCursor, null);
  });

  for (const cursor of ["", "x", "jobs:1", Buffer.from("jobs:0").toString("base64url"), "../.."])
    test(`refuses the cursor ${JSON.stringify(cursor)}`, (t) => {
      const { jobs } = jobsWith(t, {});
      assert.throws(() => jobs.page({ limit: 1, cursor }), { code: "invalid_cursor", param: "cursor" });
    });

  test("filters by state, kind, star and words of the prompt", (t) => {
    const { jobs, ids } = jobsWith(
      t,
      { request: { prompt: "a red Castle" } },
      { request: { prompt: "a blue castle" } },
      { kind: "depth", request: {} },
    );
    jobs.setStarred(ids[1]!, true);
    jobs.cancelQueued(ids[0]!, 1);
    const found = (query: object): string[] => jobs.page({ limit: 9, ...query }).jobs.map(({ id }) => id);
    assert.deepEqual(found({ states: ["cancelled"] }), [ids[0]]);
    assert.deepEqual(found({ states: ["cancelled", "queued"] }).length, 3);
    assert.deepEqual(found({ kind: "depth" }), [ids[2]]);
    assert.deepEqual(found({ starred: true }), [ids[1]]);
    assert.deepEqual(found({ q: "CASTLE red" }), [ids[0]]);
    assert.deepEqual(found({ q: "100%_" }), []);
  });

  test("lists queued jobs by priority, then by arrival", (t) => {
    const { jobs, ids } = jobsWith(t, {}, { priority: 5 }, {}, { priority: 5 });
    assert.deepEqual(
      [...jobs.places("queued")].map(({ id }) => id),
      [ids[1], ids[3], ids[0], ids[2]],
    );
  });

  test("begins an attempt of a queued job only, and only with a higher number", (t) => {
    const { jobs, ids } = jobsWith(t, {});
    const id = ids[0]!;
    assert.equal(jobs.start(id, 1, "w", 1), true);
    assert.equal(jobs.start(id, 2, "w", 1), false);
    jobs.interrupt(id, 1, "interrupted", 2);
    assert.equal(jobs.start(id, 1, "w", 3), false);
    assert.equal(jobs.start(id, 2, "w", 3), true);
    assert.equal(jobs.find(id)!.startedAt, 1);
  });

  test("drops whatever an old attempt records", (t) => {
    const { jobs, ids } = jobsWith(t, {});
    const id = ids[0]!;
    jobs.start(id, 1, "w", 1);
    jobs.interrupt(id, 1, "interrupted", 2);
    jobs.start(id, 2, "w", 3);
    assert.equal(jobs.checkpoint(id, 1, 2), false);
    assert.equal(jobs.setStep(id, 1, 2), false);
    assert.equal(jobs.warn(id, 1, "old"), false);
    assert.equal(jobs.interrupt(id, 1, "crashed", 4), false);
    assert.equal(jobs.finish(id, 1, { state: "failed", error: null }, 4), false);
    const { state, step, warnings, crashes } = jobs.find(id)!;
    assert.deepEqual(
      { state, step, warnings, crashes },
      { state: "running", step: 0, warnings: [], crashes: 0 },
    );
  });

  test("counts crashes in a row, which a checkpoint ends and a planned stop does not", (t) => {
    const { jobs, ids } = jobsWith(t, {});
    const id = ids[0]!;
    const crashes = (): number => jobs.find(id)!.crashes;
    jobs.start(id, 1, "w", 1);
    jobs.interrupt(id, 1, "crashed", 2);
    jobs.start(id, 2, "w", 3);
    jobs.interrupt(id, 2, "interrupted", 4);
    assert.equal(crashes(), 1);
    jobs.start(id, 3, "w", 5);
    jobs.checkpoint(id, 3, 2);
    assert.equal(crashes(), 0);
  });

  test("keeps a warning once", (t) => {
    const { jobs, ids } = jobsWith(t, {});
    jobs.start(ids[0]!, 1, "w", 1);
    assert.equal(jobs.warn(ids[0]!, 1, "dark"), true);
    assert.equal(jobs.warn(ids[0]!, 1, "dark"), false);
    assert.deepEqual(jobs.find(ids[0]!)!.warnings, ["dark"]);
  });

  test("deletes finished jobs only", (t) => {
    const { jobs, ids } = jobsWith(t, {}, {});
    assert.equal(jobs.remove(ids[0]!), false);
    jobs.start(ids[0]!, 1, "w", 1);
    assert.equal(jobs.remove(ids[0]!), false);
    jobs.finish(ids[0]!, 1, { state: "succeeded", error: null }, 2);
    assert.equal(jobs.remove(ids[0]!), true);
    assert.equal(jobs.find(ids[0]!), null);
  });

  test("refuses a second job with the same key", (t) => {
    const { jobs } = jobsWith(t, { idempotencyKey: "k" });
    assert.throws(() => jobs.insert(newJob({ idempotencyKey: "k" })), { code: "SQLITE_CONSTRAINT_UNIQUE" });
  });
});
