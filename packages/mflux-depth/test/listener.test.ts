import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { runInNewContext } from "node:vm";
import { Listener } from "../src/listener.js";

/** Ways in which a listener fails with the error. */
const failing: readonly (readonly [how: string, fail: (error: Error) => unknown])[] = [
  [
    "throws",
    (error) => {
      throw error;
    },
  ],
  ["rejects", (error) => Promise.reject(error)],
  ["rejects with a promise of another realm", (error) => runInNewContext("Promise").reject(error)],
  [
    "rejects with another library's promise",
    (error) => ({
      // biome-ignore lint/suspicious/noThenProperty: promises of other libraries look like this.
      then: (_: unknown, reject: (reason: Error) => void) => queueMicrotask(() => reject(error)),
    }),
  ],
];

describe("a listener that", () => {
  for (const [how, fail] of failing)
    test(`${how} aborts its job with its error`, async () => {
      const error = new Error("from the listener");
      const listener = new Listener(() => fail(error));
      using job = listener.job(undefined);
      listener.tell("event");
      await new Promise(setImmediate);
      assert.equal(job.signal.reason, error);
    });

  test("rejects does not affect a job that began after its event", async () => {
    const listener = new Listener(() => Promise.reject(new Error("too late")));
    {
      using _first = listener.job(undefined);
      listener.tell("event");
    }
    using second = listener.job(undefined);
    await new Promise(setImmediate);
    assert.equal(second.signal.aborted, false);
  });
});
