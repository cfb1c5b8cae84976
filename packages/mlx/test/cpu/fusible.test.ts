import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, evaluateSync, random, scope } from "../../src/index.js";
import { native } from "../../src/load.js";
import { formulas } from "../support/activations.js";
import { near, numbers, onLinux } from "../support/fused.js";

describe("fused operations", onLinux, () => {
  it("take float32 outside gradients only", () => {
    scope(() => {
      assert.equal(native.fusible(array([1])), true);
      assert.equal(native.fusible(array([1], { dtype: "bfloat16" })), false);
      let traced = true;
      native.valueAndGrad(
        ([x]) => {
          traced = native.fusible(x!);
          return [x!];
        },
        [0],
        [array(1)],
      );
      assert.equal(traced, false);
    });
  });

  it("reject mismatched operands under their name", () => {
    const x = random.normal([1, 4, 6]);
    const wrong = random.normal([1, 1, 5]);
    assert.throws(
      () => native.fusedGatedAdd(x, wrong, x),
      /fusedGatedAdd: .*\[batch, 1, dims\].*float32 \[1,1,5\]/,
    );
    assert.throws(() => native.fusedActivation(x, "relu6"), /unknown activation "relu6"/);
  });

  it("leave inputs intact that are still in use", () => {
    const x = random.normal([4096], { key: random.key(3) });
    evaluateSync(x);
    const before = numbers(x);
    const twice = native.add(native.fusedActivation(x, "silu"), native.fusedActivation(x, "gelu"));
    near(
      twice,
      before.map((v) => formulas.silu(v) + formulas.gelu(v)),
    );
    assert.deepEqual(numbers(x), before);
  });
});
