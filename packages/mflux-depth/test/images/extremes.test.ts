import assert from "node:assert/strict";
import { test } from "node:test";
import { extremesOf } from "../../src/images/extremes.js";

test("extremesOf tells the smallest and the largest value", () => {
  assert.deepEqual(extremesOf(Float32Array.of(3, -2, 7, 0)), { min: -2, max: 7 });
});
