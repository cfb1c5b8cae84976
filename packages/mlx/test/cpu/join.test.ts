import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { concatenate, type MxArray, ones, random, slice, transpose } from "../../src/index.js";
import { native } from "../../src/load.js";
import { numbers, onLinux } from "../support/fused.js";

describe("fused join", onLinux, () => {
  it("joins arrays and views along each axis", () => {
    const part = (shape: number[], seed: number): MxArray => random.normal(shape, { key: random.key(seed) });
    const turned = transpose(part([5, 4, 300, 3], 1), [3, 1, 0, 2]);
    const strided = slice(part([3, 4, 5, 600], 2), [null, null, null, [0, 600, 2]]);
    for (const axis of [0, 1, 2, 3, -1]) {
      const other = [3, 4, 5, 300];
      other[axis < 0 ? axis + 4 : axis] = 2;
      const empty = other.map((n) => (n === 2 ? 0 : n));
      const parts = [turned, part(other, 3), strided, part(empty, 4)];
      const joined = native.fusedJoin(parts, axis);
      assert.deepEqual(joined.shape, concatenate(parts, axis).shape);
      assert.deepEqual(numbers(joined), numbers(concatenate(parts, axis)));
    }
  });

  it("rejects arrays that do not fit together", () => {
    const one = ones([3, 4, 5, 300]);
    assert.throws(() => native.fusedJoin([one, ones([3, 4, 5, 7])], 0), /shapes agree except for the axis/);
    assert.throws(() => native.fusedJoin([one], 4), /an axis of the arrays/);
    assert.throws(() => native.fusedJoin([one, ones([3])], 0), /same number of axes/);
  });
});
