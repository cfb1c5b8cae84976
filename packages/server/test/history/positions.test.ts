import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { JobEvent } from "../../src/contract/index.js";
import { History } from "../../src/history/history.js";
import type { Ledger } from "../../src/ledger/ledger.js";
import { newJob, newLedger } from "../support/ledger.js";

/** Histories tell positions each second, of a clock that the test moves. */
function start(t: TestContext, ledger = newLedger(t)): { history: History; ledger: Ledger } {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const history = new History(ledger);
  t.after(() => history.close());
  return { history, ledger };
}

function submitted(history: History, count: number, facts = {}): readonly string[] {
  return Array.from({ length: count }, () => history.submitted(newJob(facts), []).id);
}

const isPlace = (event: JobEvent): boolean => event.event === "queued";
const placeOf = ({ data }: JobEvent): number => (data as { position: number }).position;

describe("places in the queue", () => {
  test("are those of submission, then told to a reader once a second when they change", (t) => {
    const { history } = start(t);
    const [first, second, third] = submitted(history, 3) as [string, string, string];
    const heard: number[] = [];
    history.hub.subscribe(third, (event) => heard.push(placeOf(event)));
    assert.deepEqual(history.past(third, 0).filter(isPlace).map(placeOf), [2]);
    history.started(first, 1, "local");
    history.started(second, 1, "local");
    assert.deepEqual(heard, []);
    t.mock.timers.tick(1000);
    assert.deepEqual(heard, [0]);
    t.mock.timers.tick(5000);
    assert.deepEqual(heard, [0]);
    assert.equal(history.object(history.find(third)).position, 0);
  });

  test("are told to a reader that comes after they have changed", (t) => {
    const { history } = start(t);
    const [first, second] = submitted(history, 2) as [string, string];
    history.hub.subscribe(second, () => {});
    history.started(first, 1, "local");
    t.mock.timers.tick(1000);
    const heard: number[] = [];
    history.hub.subscribe(second, (event) => heard.push(placeOf(event)));
    assert.deepEqual(history.past(second, 0).map(placeOf), [1]);
    t.mock.timers.tick(1000);
    assert.deepEqual(heard, [0]);
  });

  test("are told to a reader that comes back, whatever it has heard before", (t) => {
    const { history } = start(t);
    const [, second] = submitted(history, 2) as [string, string];
    const last = history.past(second, 0).at(-1)!.id;
    const heard: number[] = [];
    history.hub.subscribe(second, (event) => heard.push(placeOf(event)));
    assert.deepEqual(history.past(second, last), []);
    t.mock.timers.tick(1000);
    assert.deepEqual(heard, [1]);
  });

  test("follow priorities, cancellations and interruptions", (t) => {
    const { history } = start(t);
    const [first, second, third] = submitted(history, 3) as [string, string, string];
    const places = (): readonly (number | null)[] =>
      [first, second, third].map((id) => history.object(history.find(id)).position);
    history.prioritized(third, 5);
    assert.deepEqual(places(), [1, 2, 0]);
    history.started(first, 1, "local");
    assert.deepEqual(places(), [null, 1, 0]);
    history.interrupted(first, 1, "interrupted");
    assert.deepEqual(places(), [1, 2, 0]);
    assert.equal(placeOf(history.past(first, 0).findLast(isPlace)!), 1);
    history.cancelledQueued(third);
    assert.deepEqual([places(), history.queued], [[0, 1, null], 2]);
  });

  test("are those of the ledger after a restart", (t) => {
    const { history, ledger } = start(t);
    const [first] = submitted(history, 1) as [string];
    const [urgent] = submitted(history, 1, { priority: 3 }) as [string];
    const next = new History(ledger);
    t.after(() => next.close());
    assert.deepEqual(
      [first, urgent].map((id) => next.object(next.find(id)).position),
      [1, 0],
    );
  });

  test("stay as they were when a submission fails", (t) => {
    const { history } = start(t);
    const job = newJob();
    history.submitted(job, []);
    assert.throws(() => history.submitted(job, []), { code: "SQLITE_CONSTRAINT_UNIQUE" });
    assert.equal(history.queued, 1);
    assert.throws(() => history.submitted(newJob(), ["f".repeat(64)]), {
      code: "SQLITE_CONSTRAINT_FOREIGNKEY",
    });
    assert.equal(history.queued, 1);
  });

  test("are told to followers of all jobs in parts, until all have been told", (t) => {
    const { history } = start(t);
    const [first, ...others] = submitted(history, 1201);
    const heard = new Map<string, number>();
    let events = 0;
    history.hub.subscribeToAll(({ event, data }) => {
      if (event !== "queued") return;
      events++;
      heard.set((data as { job: string }).job, (data as { position: number }).position);
    });
    history.started(first!, 1, "local");
    t.mock.timers.tick(1000);
    assert.equal(events, 500);
    t.mock.timers.tick(1000);
    t.mock.timers.tick(1000);
    assert.equal(events, 1200);
    assert.deepEqual(
      others.map((id) => heard.get(id)),
      others.map((_, index) => index),
    );
  });

  test("are not told to those who only observe jobs", (t) => {
    const { history, ledger } = start(t);
    const names: string[] = [];
    history.hub.observe(({ event }) => names.push(event));
    const [first] = submitted(history, 3);
    const before = ledger.events.nextId();
    history.started(first!, 1, "local");
    t.mock.timers.tick(1000);
    assert.deepEqual(names, ["queued", "queued", "queued", "started"]);
    assert.equal(ledger.events.nextId(), before + 2, "no event had a place");
  });
});
