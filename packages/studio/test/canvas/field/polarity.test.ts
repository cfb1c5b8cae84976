import assert from "node:assert/strict";
import { test } from "node:test";
import { looksInverted } from "../../../src/canvas/field/polarity.js";
import { fieldOf } from "../support/fields.js";

/** A floor that rises to the horizon, and a ball in the middle. */
const scene = (x: number, y: number): number => {
  const ball = Math.hypot(x - 60, y - 45) < 20 ? 0.8 : 0;
  return Math.max(ball, y > 40 ? (y - 40) / 50 : 0);
};

test("a map whose near things are white does not look inverted", () => {
  assert.equal(looksInverted(fieldOf(120, 90, scene)), false);
});

test("a map whose far things are white looks inverted", () => {
  assert.equal(looksInverted(fieldOf(120, 90, (x, y) => 1 - scene(x, y))), true);
});

test("a map smaller than the glance at it is judged, too", () => {
  assert.equal(looksInverted(fieldOf(12, 9, (x, y) => 1 - scene(10 * x, 10 * y))), true);
});
