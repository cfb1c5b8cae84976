import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { nearest } from "../../src/options/index.js";

describe("the nearest candidate", () => {
  test("has the fewest edits", () => {
    assert.equal(nearest("--hight", ["--width", "--height"]), "--height");
  });

  test("ignores case", () => {
    assert.equal(nearest("STEPS", ["seed", "steps"]), "steps");
  });

  test("is none when all are too far", () => {
    assert.equal(nearest("qqqqqq", ["steps", "seed"]), undefined);
  });
});
