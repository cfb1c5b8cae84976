import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, contiguous, random, slice, transpose } from "../../src/index.js";
import { native } from "../../src/load.js";
import { formulas } from "../support/activations.js";
import { near, numbers, onLinux } from "../support/fused.js";

describe("fused activations", onLinux, () => {
  it("equal the formulas", () => {
    for (const [kind, formula] of Object.entries(formulas))
      for (const size of [1, 7, 16, 33, 70_001]) {
        const x = random.normal([size], { key: random.key(size), scale: 3 });
        near(native.fusedActivation(x, kind), numbers(x).map(formula));
      }
  });

  it("keep NaN and infinity, and reach their limits", () => {
    const x = array([Number.NaN, Number.POSITIVE_INFINITY, 200, -200, 0]);
    for (const kind of [...Object.keys(formulas), "relu"]) {
      const [nan, infinite, large, small, zero] = numbers(native.fusedActivation(x, kind));
      assert.ok(Number.isNaN(nan!), `${kind}(NaN)`);
      assert.equal(infinite, Number.POSITIVE_INFINITY, `${kind}(inf)`);
      assert.equal(large, 200);
      assert.ok(Math.abs(small!) < 1e-30, `${kind}(-200) is ${small}`);
      assert.equal(zero, 0);
    }
  });

  it("take views", () => {
    const x = random.normal([6, 10], { key: random.key(1) });
    for (const view of [
      transpose(x),
      slice(x, [
        [1, 5],
        [0, null, 3],
      ]),
    ])
      near(native.fusedActivation(view, "silu"), numbers(view).map(formulas.silu));
  });

  it("take an empty array", () => {
    assert.deepEqual(numbers(native.fusedActivation(array([], { shape: [0] }), "silu")), []);
  });

  it("give the same for a view and its contiguous copy", () => {
    const x = random.normal([7, 300, 9], { key: random.key(1) });
    for (const view of [transpose(x, [2, 0, 1]), slice(x, [[0, 7, 3], null, [1, 9]])])
      near(
        native.fusedActivation(view, "silu"),
        numbers(native.fusedActivation(contiguous(view), "silu")),
        0,
      );
  });
});
