import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { imageAt } from "../../src/state/images.js";

describe("the image that a step belongs to", () => {
  for (const [step, image] of [
    [0, 1],
    [1, 1],
    [12, 1],
    [13, 2],
    [36, 3],
  ] as const)
    test(`is ${image} at step ${step} of 36 for three images`, () =>
      assert.equal(imageAt(step, 36, 3), image));
});
