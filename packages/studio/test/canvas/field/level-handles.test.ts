import assert from "node:assert/strict";
import { test } from "node:test";
import {
  allowed,
  dragged,
  handlePositions,
  resetLevel,
  stepped,
} from "../../../src/canvas/field/level-handles.js";
import { gammaOfMiddle, middleOf, neutralLevels } from "../../../src/canvas/field/levels.js";
import { statisticsOf } from "../../../src/canvas/field/statistics.js";
import { fieldOf } from "../support/fields.js";

const even = statisticsOf(fieldOf(1000, 10, (x) => x / 999));

const isNear = (actual: number, expected: number, tolerance = 0.01): void =>
  assert.ok(Math.abs(actual - expected) < tolerance, `${actual} is not ${expected}`);

test("at first the handles stand at black, middle grey and white", () => {
  assert.deepEqual(handlePositions(even, neutralLevels), { far: 0, gamma: 0.5, near: 1 });
});

test("a dragged handle stands where it was dropped", () => {
  const far = dragged(even, neutralLevels, "far", 0.2);
  isNear(handlePositions(even, far).far, 0.2);
  const both = dragged(even, far, "near", 0.7);
  isNear(handlePositions(even, both).near, 0.7);
  const all = dragged(even, both, "gamma", 0.3);
  isNear(handlePositions(even, all).gamma, 0.3);
});

test("far does not pass near, nor near far", () => {
  const far = dragged(even, { ...neutralLevels, near: 50 }, "far", 0.9);
  assert.ok(allowed(far) && far.far > 45);
  const near = dragged(even, { ...neutralLevels, far: 50 }, "near", 0.1);
  assert.ok(allowed(near) && near.near < 55);
});

test("a handle that would make the percentiles equal stays", () => {
  const flat = statisticsOf(fieldOf(100, 1, (x) => (x < 90 ? 0.5 : 1)));
  assert.deepEqual(dragged(flat, neutralLevels, "near", 0.5), neutralLevels);
});

test("arrow keys move far and near by half a percent and gamma by a twentieth", () => {
  assert.equal(stepped(neutralLevels, "near", -1).near, 99.5);
  assert.equal(stepped(neutralLevels, "far", 10).far, 5);
  assert.equal(stepped(neutralLevels, "gamma", 1).gamma, 1.05);
});

test("arrow keys stop at the ends of the range", () => {
  assert.equal(stepped(neutralLevels, "near", 3).near, 100);
  assert.equal(stepped({ ...neutralLevels, far: 99.5 }, "far", 40).far, 99.5);
});

test("a reset leaves the other levels alone", () => {
  assert.deepEqual(resetLevel({ near: 90, far: 5, gamma: 2, invert: true }, "gamma"), {
    near: 90,
    far: 5,
    gamma: 1,
    invert: true,
  });
});

test("the position of middle grey and gamma are inverse to each other", () => {
  for (const gamma of [0.2, 0.5, 1, 2.2, 6]) isNear(gammaOfMiddle(middleOf(gamma)), gamma, 1e-9);
});
