import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  adjustedMap,
  checkAdjustments,
  type MapAdjustments,
  normalizedMap,
} from "../../src/depth/adjustments.js";
import { ImageError, OptionError } from "../../src/errors.js";
import { toLevels } from "../../src/images/encode.js";
import { drawn, largestDifference } from "../support/images.js";

describe("normalizedMap", () => {
  const ramp = drawn(11, 1, (x) => 3 + 2 * x);
  const map = (adjustments: MapAdjustments = {}): number[] => [
    ...normalizedMap(ramp, 11, 1, "ramp", adjustments).data,
  ];
  const isNear = (found: number[], expected: number[]): void =>
    assert.ok(largestDifference(found, expected) < 1e-6, `${found}`);

  test("maps the smallest value to 0 and the largest to 1", () => {
    isNear(map(), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
  });

  test("interpolates percentiles between neighbours, and clamps beyond them", () => {
    isNear(
      map({ far: 15, near: 80 }),
      map().map((v) => Math.min(Math.max((v - 0.15) / 0.65, 0), 1)),
    );
  });

  test("brightens distant areas with gamma above 1", () => {
    isNear(map({ gamma: 2 }), map().map(Math.sqrt));
  });

  test("inverts after gamma", () => {
    isNear(
      map({ invert: true, gamma: 0.5 }),
      map().map((v) => 1 - v ** 2),
    );
  });

  test("names the photo when the depth is the same everywhere", () => {
    const flat = drawn(4, 4, () => 2);
    assert.throws(
      () => normalizedMap(flat, 4, 4, "fog.jpg"),
      (error) =>
        error instanceof ImageError && /^fog\.jpg: the depth is the same everywhere/.test(error.message),
    );
  });

  test("refuses percentiles with equal values", () => {
    const nearlyFlat = drawn(10, 10, (x, y) => (x + y === 0 ? 1 : 0));
    assert.throws(() => normalizedMap(nearlyFlat, 4, 4, "fog.jpg", { near: 90 }), /percentiles 0 and 90/);
  });
});

describe("adjustedMap", () => {
  // 64 to 164 of 255.
  const levels = Uint8Array.from({ length: 11 }, (_, x) => 64 + 10 * x);
  const given = drawn(11, 1, (x) => levels[x]! / 255);
  const map = (adjustments: MapAdjustments): number[] => [...adjustedMap(given, "map.png", adjustments).data];
  const isNear = (found: number[], expected: ArrayLike<number>): void =>
    assert.ok(largestDifference(found, expected) < 1e-6, `${found}`);
  const ramp = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

  test("leaves a map unchanged at the defaults", () => {
    assert.equal(adjustedMap(given, "map.png", {}), given);
  });

  test("stretches over both percentiles as soon as one differs from its default", () => {
    isNear(
      map({ far: 10 }),
      ramp.map((v) => Math.max((v - 0.1) / 0.9, 0)),
    );
    isNear(
      map({ near: 90 }),
      ramp.map((v) => Math.min(v / 0.9, 1)),
    );
  });

  test("bends levels without stretching them", () => {
    isNear(map({ gamma: 2 }), given.data.map(Math.sqrt));
  });

  test("inverts over the range of the levels", () => {
    assert.deepEqual(
      toLevels({ ...given, data: Float32Array.from(map({ invert: true })) }, 8),
      levels.map((level) => 64 + 164 - level),
    );
  });

  test("inverts after the stretch and gamma", () => {
    isNear(
      map({ near: 90, gamma: 0.5, invert: true }),
      ramp.map((v) => 1 - Math.min(v / 0.9, 1) ** 2),
    );
  });

  test("treats a map that spans the range like an estimate", () => {
    const whole = drawn(9, 7, (x, y) => ((5 * x + 3 * y) % 11) / 10);
    const adjustments = { near: 93, far: 4, gamma: 1.7, invert: true };
    assert.deepEqual(
      adjustedMap(whole, "map.png", adjustments).data,
      normalizedMap(whole, 9, 7, "photo.jpg", adjustments).data,
    );
  });

  test("names the map when its percentiles are equal", () => {
    const nearlyFlat = drawn(10, 10, (x, y) => (x + y === 0 ? 1 : 0));
    assert.throws(
      () => adjustedMap(nearlyFlat, "map.png", { near: 90 }),
      (error) =>
        error instanceof ImageError && /^map\.png: the percentiles 0 and 90 of the depth/.test(error.message),
    );
  });
});

describe("checkAdjustments", () => {
  for (const wrong of [
    { near: 101 },
    { far: -1 },
    { near: 20, far: 20 },
    { gamma: 0 },
    { near: Number.NaN },
  ] satisfies MapAdjustments[])
    test(`refuses ${Object.entries(wrong)}`, () => assert.throws(() => checkAdjustments(wrong), OptionError));

  test("names the range of an option like the command line", () =>
    assert.throws(
      () => checkAdjustments({ near: 101 }),
      /^OptionError: near must be a number from 0 to 100, not 101\.$/,
    ));

  test("fills in the defaults of the table", () =>
    assert.deepEqual(checkAdjustments({}), { invert: false, near: 100, far: 0, gamma: 1 }));
});
