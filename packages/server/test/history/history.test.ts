import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { History } from "../../src/history/history.js";
import { newJob, newLedger } from "../support/ledger.js";

const score = { rmse: 30, correlation: 0.9, abs_rel: 0.2, edge_f1: 0.2 };
const candidate = {
  name: "candidate-1",
  sha256: "a".repeat(64),
  bytes: 1,
  mime: "image/png",
  width: 1,
  height: 1,
  seed: 7,
  score,
};

describe("the images of an unfinished job", () => {
  for (const [what, end] of [
    [
      "is cancelled while it waits to continue",
      (history: History, id: string) => history.cancelledQueued(id),
    ],
    [
      "fails in the next attempt",
      (history: History, id: string) =>
        history.started(id, 2, "local") && history.finished(id, 2, { state: "failed" }),
    ],
  ] as const)
    test(`are kept over an interruption, and go when it ${what}`, (t) => {
      const ledger = newLedger(t);
      const history = new History(ledger);
      t.after(() => history.close());
      const { id } = history.submitted(newJob(), []);
      history.started(id, 1, "local");
      assert.ok(history.candidateMade(id, 1, candidate, 2));
      history.interrupted(id, 1, "crashed");
      assert.deepEqual(ledger.files.artifactsOf(id), [candidate]);
      assert.deepEqual([ledger.jobs.find(id)!.step, history.object(history.find(id)).images], [2, []]);
      assert.ok(end(history, id));
      assert.deepEqual(ledger.files.artifactsOf(id), []);
    });

  test("are not taken from an old attempt", (t) => {
    const ledger = newLedger(t);
    const history = new History(ledger);
    t.after(() => history.close());
    const { id } = history.submitted(newJob(), []);
    history.started(id, 1, "local");
    history.interrupted(id, 1, "crashed");
    history.started(id, 2, "local");
    assert.ok(!history.candidateMade(id, 1, candidate, 2));
    assert.deepEqual(ledger.files.artifactsOf(id), []);
  });
});
