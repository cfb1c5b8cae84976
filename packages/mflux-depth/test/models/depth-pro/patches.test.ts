import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { array, scope } from "@mflux-depth/mlx";
import { mergePatches, patchesAlong, splitPatches } from "../../../src/models/depth-pro/patches.js";
import { fill, noise } from "../../support/grid.js";
import { values } from "../../support/tensors.js";

describe("splitPatches and mergePatches", () => {
  for (const [side, overlap, count, padding] of [
    [128, 0.25, 5, 4],
    [64, 0.5, 3, 8],
    [96, 0, 3, 0],
    [32, 0, 1, 4],
  ] as const)
    test(`are inverse to each other for a side of ${side} with overlap ${overlap}`, () => {
      using image = array(noise(side * side * 2), { shape: [1, side, side, 2] });
      using patches = scope(() => splitPatches(image, 32, overlap));
      assert.equal(patches.shape[0], count ** 2);
      using merged = scope(() => mergePatches(patches, padding));
      assert.deepEqual(values(merged), values(image));
    });
});

describe("splitPatches", () => {
  test("starts patches at multiples of the rounded stride, and drops the rest", () => {
    using image = array(noise(45 * 45), { shape: [1, 45, 45, 1] });
    using patches = scope(() => splitPatches(image, 10, 0.25));
    const all = values(image);
    assert.deepEqual(patches.shape, [36, 10, 10, 1]);
    const expected: number[] = [];
    for (let row = 0; row < 6; row++)
      for (let column = 0; column < 6; column++)
        for (let y = 0; y < 10; y++)
          for (let x = 0; x < 10; x++) expected.push(all[(row * 7 + y) * 45 + column * 7 + x]!);
    assert.deepEqual([...values(patches)], expected);
  });

  test("cuts as many patches as patchesAlong says", () => {
    using image = array(noise(45 * 45), { shape: [1, 45, 45, 1] });
    using patches = scope(() => splitPatches(image, 10, 0.25));
    assert.equal(patches.shape[0], patchesAlong(45, 10, 0.25) ** 2);
  });
});

describe("mergePatches", () => {
  test("trims at most a quarter of a patch", () => {
    using patches = array(noise(4 * 8 * 8), { shape: [4, 8, 8, 1] });
    using merged = scope(() => mergePatches(patches, 12));
    const all = values(patches);
    const source = (i: number): [number, number] => (i < 6 ? [0, i] : [1, i - 6 + 2]);
    const expected = fill([12, 12, 1], (y, x) => {
      const [[row, top], [column, left]] = [source(y), source(x)];
      return all[((row * 2 + column) * 8 + top) * 8 + left]!;
    });
    assert.deepEqual([...values(merged)], [...expected.data]);
  });
});
