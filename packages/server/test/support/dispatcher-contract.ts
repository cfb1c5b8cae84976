import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { Claim, ClaimRequest, Dispatcher, Offer } from "../../src/dispatch/dispatcher.js";

/**
 * Makes a dispatcher for a test.
 * @param options.leaseMs how long a worker may be silent.
 */
export type DispatcherMaker = (t: TestContext, options: { readonly leaseMs: number }) => Promise<Dispatcher>;

/** An offer of a job, whose number is its arrival. */
export const offer = (id: string, facts: Partial<Offer> = {}): Offer => ({
  id,
  priority: 0,
  arrival: Number(id.replace(/\D/g, "")),
  model: "a",
  attempt: 0,
  ...facts,
});

/** Resolves when a worker is told to stop: its dispatcher may be in another process than the one that says so. */
const aborted = async (signal: AbortSignal): Promise<void> => {
  if (!signal.aborted) await once(signal, "abort");
};

/** The behaviour of every dispatcher, whatever its implementation. */
export function dispatcherContract(name: string, make: DispatcherMaker): void {
  const long = { leaseMs: 60_000 };
  /** @param options.within milliseconds until the wait ends with a TimeoutError. */
  const claim = async (
    dispatcher: Dispatcher,
    {
      worker = "w1",
      model = null,
      within = 30_000,
      ...request
    }: Partial<ClaimRequest> & { within?: number } = {},
  ): Promise<Claim> => {
    const end = new AbortController();
    const timer = setTimeout(() => end.abort(new DOMException("too late", "TimeoutError")), within);
    try {
      return await dispatcher.claim({ worker, model, ...request, signal: end.signal });
    } finally {
      clearTimeout(timer);
    }
  };

  // Most of them wait, each with a dispatcher of its own.
  describe(`${name} as a dispatcher`, { concurrency: 4 }, () => {
    test("gives a job to one worker only", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      const first = await claim(dispatcher);
      assert.equal(first.id, "job1");
      const none = claim(dispatcher, { worker: "w2", within: 100 });
      await assert.rejects(none, { name: "TimeoutError" });
    });

    test("gives a job to a worker that waited for one", async (t) => {
      const dispatcher = await make(t, long);
      const waiting = claim(dispatcher);
      await turn();
      await dispatcher.offer(offer("job1"));
      assert.equal((await waiting).id, "job1");
    });

    test("starts jobs in order of priority, then of arrival", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      await dispatcher.offer(offer("job3", { priority: 5 }));
      await dispatcher.offer(offer("job2", { priority: 5 }));
      await dispatcher.offer(offer("job4", { priority: -1 }));
      const order = [];
      for (let n = 0; n < 4; n++) order.push((await claim(dispatcher)).id);
      assert.deepEqual(order, ["job2", "job3", "job1", "job4"]);
    });

    test("lets jobs for the loaded model go first", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1", { model: "a" }));
      await dispatcher.offer(offer("job2", { model: "b" }));
      assert.equal((await claim(dispatcher, { model: "b" })).id, "job2");
      assert.equal((await claim(dispatcher, { model: "b" })).id, "job1");
    });

    test("lets no more than 32 jobs overtake another", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1", { model: "a" }));
      for (let n = 2; n <= 41; n++) await dispatcher.offer(offer(`job${n}`, { model: "b" }));
      const order = [];
      for (let n = 0; n < 34; n++) order.push((await claim(dispatcher, { model: "b" })).id);
      assert.equal(order.indexOf("job1"), 32);
    });

    test("gives a worker only jobs for models that it accepts, whatever waits before them", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1", { model: "a", priority: 5 }));
      await dispatcher.offer(offer("job2", { model: "b" }));
      const accepts = (model: string): boolean => model === "b";
      assert.equal((await claim(dispatcher, { accepts })).id, "job2");
      await assert.rejects(claim(dispatcher, { accepts, within: 100 }), { name: "TimeoutError" });
      assert.equal((await claim(dispatcher, { worker: "w2" })).id, "job1");
    });

    test("gives a job to the worker that accepts it, although another waits longer", async (t) => {
      const dispatcher = await make(t, long);
      const gone = new AbortController();
      t.after(() => gone.abort());
      const refusing = dispatcher.claim({
        worker: "w1",
        model: null,
        accepts: () => false,
        signal: gone.signal,
      });
      refusing.catch(() => {});
      const waiting = claim(dispatcher, { worker: "w2" });
      await turn();
      await dispatcher.offer(offer("job1"));
      assert.equal((await waiting).worker, "w2");
    });

    test("takes the changed priority of a waiting job", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      await dispatcher.offer(offer("job2"));
      await dispatcher.offer(offer("job2", { priority: 1 }));
      assert.equal((await claim(dispatcher)).id, "job2");
      assert.equal((await claim(dispatcher)).id, "job1");
    });

    test("counts attempts on from the one that a job had", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1", { attempt: 3 }));
      assert.equal((await claim(dispatcher)).attempt, 4);
    });

    test("gives a job that was given back again, at its old place and with a higher attempt", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      await dispatcher.offer(offer("job2"));
      const first = await claim(dispatcher);
      assert.equal(await dispatcher.giveBack(first), true);
      const second = await claim(dispatcher);
      assert.deepEqual([second.id, second.attempt], ["job1", 2]);
    });

    test("gives a job whose worker is silent to another, and tells the first that it lost it", async (t) => {
      const dispatcher = await make(t, { leaseMs: 500 });
      const lost: Claim[] = [];
      dispatcher.onLost((one) => lost.push(one));
      await dispatcher.offer(offer("job1"));
      const first = await claim(dispatcher);
      const second = await claim(dispatcher, { worker: "w2" });
      assert.deepEqual([second.id, second.attempt, second.worker], ["job1", 2, "w2"]);
      await aborted(first.signal);
      assert.equal(first.signal.reason, "lost");
      assert.deepEqual(
        lost.map(({ id, attempt }) => [id, attempt]),
        [["job1", 1]],
      );
    });

    test("refuses what a worker with a lost lease does", async (t) => {
      const dispatcher = await make(t, { leaseMs: 2000 });
      await dispatcher.offer(offer("job1"));
      const first = await claim(dispatcher);
      const second = await claim(dispatcher, { worker: "w2" });
      assert.equal(await dispatcher.renew(first), false);
      assert.equal(await dispatcher.finish(first), false);
      assert.equal(await dispatcher.giveBack(first), false);
      assert.equal(await dispatcher.renew(second), true);
    });

    test("keeps a job with a worker that renews its lease", async (t) => {
      const dispatcher = await make(t, { leaseMs: 2000 });
      await dispatcher.offer(offer("job1"));
      const held = await claim(dispatcher);
      const renewal = setInterval(() => void dispatcher.renew(held), 200);
      t.after(() => clearInterval(renewal));
      const none = claim(dispatcher, { worker: "w2", within: 5000 });
      await assert.rejects(none, { name: "TimeoutError" });
      assert.equal(held.signal.aborted, false);
    });

    test("forgets a finished job", async (t) => {
      const dispatcher = await make(t, { leaseMs: 500 });
      await dispatcher.offer(offer("job1"));
      const held = await claim(dispatcher);
      assert.equal(await dispatcher.finish(held), true);
      const none = claim(dispatcher, { within: 1500 });
      await assert.rejects(none, { name: "TimeoutError" });
    });

    test("removes a cancelled job that waits", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      assert.equal(await dispatcher.cancel("job1"), "removed");
      assert.equal(await dispatcher.cancel("job1"), "unknown");
      const none = claim(dispatcher, { within: 100 });
      await assert.rejects(none, { name: "TimeoutError" });
    });

    test("tells the worker of a cancelled job, which keeps its lease until it finishes", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      const held = await claim(dispatcher);
      assert.equal(await dispatcher.cancel("job1"), "claimed");
      await aborted(held.signal);
      assert.equal(held.signal.reason, "cancelled");
      assert.equal(await dispatcher.finish(held), true);
    });

    test("holds jobs back while paused, and lets claimed ones go on", async (t) => {
      const dispatcher = await make(t, long);
      await dispatcher.offer(offer("job1"));
      const held = await claim(dispatcher);
      await dispatcher.pause();
      await dispatcher.offer(offer("job2"));
      const waiting = claim(dispatcher);
      assert.equal(await dispatcher.renew(held), true);
      let given = false;
      void waiting.then(() => (given = true));
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(given, false);
      await dispatcher.resume();
      assert.equal((await waiting).id, "job2");
    });

    test("gives no job to a worker that has stopped waiting", async (t) => {
      const dispatcher = await make(t, long);
      const gone = new AbortController();
      const waiting = dispatcher.claim({ worker: "w1", model: null, signal: gone.signal });
      gone.abort(new Error("gone"));
      await assert.rejects(waiting, { message: "gone" });
      await dispatcher.offer(offer("job1"));
      assert.equal((await claim(dispatcher, { worker: "w2" })).worker, "w2");
    });
  });
}
