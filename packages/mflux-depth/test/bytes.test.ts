import assert from "node:assert/strict";
import { test } from "node:test";
import { describeBytes } from "../src/bytes.js";

test("sizes are in the largest unit in which they are at least 1", () => {
  assert.deepEqual([23.8e9, 1e9, 7.17e6, 4321].map(describeBytes), ["23.8 GB", "1.0 GB", "7.2 MB", "4.3 kB"]);
});
