import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Throttle } from "../../src/work/throttle.js";

describe("a throttle", () => {
  test("passes the first value on at once, then the latest of each interval", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const passed: number[] = [];
    using throttle = new Throttle<number>(250, (value) => passed.push(value));
    for (const value of [1, 2, 3]) throttle.add(value);
    assert.deepEqual(passed, [1]);
    t.mock.timers.tick(250);
    assert.deepEqual(passed, [1, 3]);
    throttle.add(4);
    t.mock.timers.tick(249);
    assert.deepEqual(passed, [1, 3]);
    t.mock.timers.tick(1);
    assert.deepEqual(passed, [1, 3, 4]);
  });

  test("passes nothing on after its end", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const passed: number[] = [];
    const throttle = new Throttle<number>(250, (value) => passed.push(value));
    throttle.add(1);
    throttle.add(2);
    throttle[Symbol.dispose]();
    t.mock.timers.tick(1000);
    assert.deepEqual(passed, [1]);
  });
});
