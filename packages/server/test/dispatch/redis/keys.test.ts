import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  attemptOf,
  bullId,
  bullPriority,
  placeOf,
  queueName,
  scoreOf,
} from "../../../src/dispatch/redis/keys.js";

describe("names and places on Redis", () => {
  test("an id says the attempt, also of a job whose id has dashes", () => {
    const id = "0198c3a4-7d1e-7000-8000-0123456789ab";
    assert.deepEqual(attemptOf(bullId(id, 12)), { id, attempt: 12 });
  });

  test("places are in the order of priority, then of arrival", () => {
    const places = [100, 1, 0, -1, -100].flatMap((priority) =>
      [1, 2, 1_000_000, 2 ** 32 - 1].map((arrival) => ({ priority, arrival })),
    );
    const scores = places.map(scoreOf);
    assert.deepEqual(
      scores,
      scores.toSorted((a, b) => a - b),
    );
    assert.equal(new Set(scores).size, scores.length);
    assert.deepEqual(scores.map(placeOf), places);
  });

  test("priorities are in BullMQ's range, and never its 0", () => {
    for (const priority of [-100, 0, 100]) {
      assert.ok(bullPriority(priority) > 0);
      assert.ok(bullPriority(priority) <= 2 ** 21);
    }
  });

  test("a queue has a short name without colons, whatever the model's key", () => {
    const key = JSON.stringify({ model: "a:b", loras: [{ source: "x".repeat(1000) }] });
    assert.match(queueName(key), /^[0-9a-f]{16}$/);
    assert.notEqual(queueName(key), queueName(`${key} `));
  });
});
