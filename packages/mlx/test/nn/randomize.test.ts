import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { random } from "../../src/index.js";
import { LayerNorm, randomize } from "../../src/nn/index.js";
import { Model } from "../support/model.js";
import { values } from "../support/numbers.js";

describe("randomize", () => {
  it("draws the same values for the same key", () => {
    const [a, b, c] = [1, 1, 2].map((seed) => {
      const model = new Model();
      randomize(model, random.key(seed), 0.5);
      return values(model.attnBlocks[1]!.toOut[0].weight);
    });
    assert.deepEqual(a, b);
    assert.notDeepEqual(a, c);
  });

  it("centres the factors of norms at 1", () => {
    const norm = new LayerNorm(10000);
    randomize(norm, random.key(3), 0.1);
    const mean = values(norm.weight!).reduce((sum, v) => sum + v, 0) / 10000;
    assert.ok(Math.abs(mean - 1) < 0.01);
  });
});
