import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { QueueOrder } from "../../src/history/queue-order.js";

const job = (arrival: number, priority = 0) => ({ id: `job${arrival}`, arrival, priority, attempt: 0 });

describe("the order of the queue", () => {
  test("is by priority, then by arrival, in whatever order jobs are added", () => {
    const order = new QueueOrder([job(3, 5), job(1)]);
    order.put(job(4));
    order.put(job(2));
    order.put(job(5, 5));
    const positions = [1, 2, 3, 4, 5].map((arrival) => order.positionOf(`job${arrival}`));
    assert.deepEqual([positions, order.size], [[2, 3, 0, 4, 1], 5]);
  });

  test("closes up when a job leaves, and knows the place of one that may come", () => {
    const order = new QueueOrder([job(1), job(2), job(3)]);
    order.remove("job2");
    order.remove("job2");
    assert.deepEqual([order.positionOf("job3"), order.positionOf("job2"), order.size], [1, null, 2]);
    assert.equal(order.ahead(job(2)), 1);
  });

  test("moves a job whose priority changes", () => {
    const order = new QueueOrder([job(1), job(2), job(3)]);
    order.put(job(3, 1));
    assert.deepEqual([order.positionOf("job3"), order.positionOf("job1"), order.size], [0, 1, 3]);
  });

  test("agrees with sorting, for many jobs that come and go", () => {
    const order = new QueueOrder([]);
    const queued = new Map<string, ReturnType<typeof job>>();
    for (let step = 0, state = 1; step < 3000; step++) {
      state = (state * 48_271) % 2_147_483_647;
      const one = job(state % 300, (state >> 8) % 5);
      if (state % 3 === 0) {
        order.remove(one.id);
        queued.delete(one.id);
      } else {
        order.put(one);
        queued.set(one.id, one);
      }
    }
    const sorted = [...queued.values()].sort((a, b) => b.priority - a.priority || a.arrival - b.arrival);
    assert.ok(sorted.length > 100);
    assert.deepEqual(
      sorted.map(({ id }) => order.positionOf(id)),
      sorted.map((_, index) => index),
    );
  });

  test("names the jobs that have moved since their readers were told", () => {
    const order = new QueueOrder([]);
    for (let arrival = 1; arrival <= 3; arrival++) order.put(job(arrival), arrival - 1);
    assert.deepEqual([...order.moved(["job2", "job3", "job9"])], []);
    order.remove("job1");
    assert.deepEqual(
      [...order.moved(["job3"])].map(({ id, position }) => [id, position]),
      [["job3", 1]],
    );
    order.told("job3", 1);
    assert.deepEqual([...order.moved(["job3"])], []);
  });

  test("gives all jobs their turn when more have moved than are told at once", () => {
    const order = new QueueOrder([]);
    for (let arrival = 0; arrival <= 10; arrival++) order.put(job(arrival), arrival);
    order.remove("job0");
    const told: string[] = [];
    for (let turn = 0; turn < 4; turn++)
      for (const { id, position } of order.nextMoved(3)) {
        told.push(id);
        order.told(id, position);
      }
    assert.deepEqual(
      told,
      Array.from({ length: 10 }, (_, index) => `job${index + 1}`),
    );
    assert.deepEqual([...order.nextMoved(3)], []);
  });
});
