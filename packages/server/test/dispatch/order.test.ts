import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { byTurn, choose, usualBound, type Waiting } from "../../src/dispatch/order.js";

let arrivals = 0;
const job = (model: string, facts: Partial<Waiting> = {}): Waiting => ({
  id: `job${++arrivals}`,
  priority: 0,
  arrival: arrivals,
  model,
  attempt: 0,
  overtaken: 0,
  overtakenSince: null,
  ...facts,
});

const chosenFrom = (queue: readonly Waiting[], model: string | null, now = 0): Waiting | undefined =>
  choose([...queue].sort(byTurn), model, { now, bound: usualBound })?.chosen;

describe("the next job", () => {
  test("is none for an empty queue", () => {
    assert.equal(choose([], "a", { now: 0, bound: usualBound }), null);
  });

  test("is the first if no model is loaded", () => {
    const queue = [job("a"), job("b")];
    assert.equal(chosenFrom(queue, null), queue[0]);
  });

  test("is the first of those for the loaded model", () => {
    const queue = [job("a"), job("b"), job("b")];
    assert.equal(chosenFrom(queue, "b"), queue[1]);
  });

  test("is the first if none is for the loaded model", () => {
    const queue = [job("a"), job("a")];
    assert.equal(chosenFrom(queue, "b"), queue[0]);
  });

  test("overtakes no job of a higher priority", () => {
    const queue = [job("b"), job("a", { priority: 1 })];
    assert.equal(chosenFrom(queue, "b"), queue[1]);
  });

  test("is the one that 32 others have overtaken", () => {
    const queue = [job("a", { overtaken: 32, overtakenSince: 0 }), job("b")];
    assert.equal(chosenFrom(queue, "b"), queue[0]);
  });

  test("is the one that has been overtaken for two minutes", () => {
    const queue = [job("a", { overtaken: 1, overtakenSince: 0 }), job("b")];
    assert.equal(chosenFrom(queue, "b", 119_999), queue[1]);
    assert.equal(chosenFrom(queue, "b", 120_000), queue[0]);
  });

  test("comes from no more than 32 places behind", () => {
    const near = [...Array.from({ length: 32 }, () => job("a")), job("b")];
    assert.equal(chosenFrom(near, "b"), near[32]);
    const far = [...Array.from({ length: 33 }, () => job("a")), job("b")];
    assert.equal(chosenFrom(far, "b"), far[0]);
  });
});
