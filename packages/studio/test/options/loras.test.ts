import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { lorasOf, savedScales } from "../../src/options/loras.js";

describe("the scales of a request", () => {
  const loras = ["ink", { source: "clay", scale: 0.8 }];

  test("take the place of those with which the LoRAs were loaded", () => {
    assert.deepEqual(lorasOf(loras, undefined), [
      { source: "ink", scale: 1 },
      { source: "clay", scale: 0.8 },
    ]);
    assert.deepEqual(lorasOf(loras, [0.2, 0.3]), [
      { source: "ink", scale: 0.2 },
      { source: "clay", scale: 0.3 },
    ]);
    assert.deepEqual(savedScales(loras, [0.2, 0.3]), []);
  });

  test("begin with those of the LoRAs in the model's own folder", () => {
    assert.deepEqual(lorasOf(loras, [0.5, 0.2, 0.3]), [
      { source: "ink", scale: 0.2 },
      { source: "clay", scale: 0.3 },
    ]);
    assert.deepEqual(savedScales(loras, [0.5, 0.2, 0.3]), [0.5]);
  });
});
