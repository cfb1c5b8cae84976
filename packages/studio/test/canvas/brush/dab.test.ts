import assert from "node:assert/strict";
import { test } from "node:test";
import type { Brush } from "../../../src/canvas/brush/brush.js";
import { dab } from "../../../src/canvas/brush/dab.js";
import { boxMean } from "../../../src/canvas/brush/smooth.js";
import { fieldOf, random } from "../support/fields.js";

const brush: Brush = { tool: "raise", size: 20, hardness: 0.5, strength: 1, value: 0.9 };
const ignore = (): void => undefined;
const middle = { x: 32, y: 32, pressure: 1 };
const grey = (value = 0.5) => fieldOf(64, 64, () => value);
const at = (field: ReturnType<typeof grey>, x: number, y: number): number => field.values[y * 64 + x]!;

test("raises most in the middle, less towards the rim, and nothing outside", () => {
  const field = grey();
  dab(field, brush, middle, ignore);
  assert.ok(at(field, 32, 32) > at(field, 39, 32) && at(field, 39, 32) > 0.5);
  assert.equal(at(field, 43, 32), 0.5);
});

test("lowers as much as it raises", () => {
  const [up, down] = [grey(), grey()];
  dab(up, brush, middle, ignore);
  dab(down, { ...brush, tool: "lower" }, middle, ignore);
  for (const [i, value] of up.values.entries()) assert.ok(Math.abs(value + down.values[i]! - 1) < 1e-6);
});

test("values stay within 0 and 1", () => {
  const [white, black] = [grey(0.99), grey(0.01)];
  dab(white, brush, middle, ignore);
  dab(black, { ...brush, tool: "lower" }, middle, ignore);
  assert.equal(at(white, 32, 32), 1);
  assert.equal(at(black, 32, 32), 0);
});

test("sets the picked depth at full strength", () => {
  const field = grey();
  dab(field, { ...brush, tool: "set" }, middle, ignore);
  assert.equal(at(field, 32, 32), Math.fround(0.9));
  assert.equal(at(field, 50, 32), 0.5);
});

test("smooths an edge and keeps the mean", () => {
  const field = fieldOf(64, 64, (x) => (x < 32 ? 0.2 : 0.8));
  dab(field, { ...brush, tool: "smooth", hardness: 1 }, middle, ignore);
  assert.ok(at(field, 31, 32) > 0.3 && at(field, 32, 32) < 0.7);
  assert.ok(Math.abs(field.values.reduce((sum, value) => sum + value, 0) / 64 ** 2 - 0.5) < 1e-3);
});

test("half the pressure does half as much", () => {
  const [full, half] = [grey(), grey()];
  dab(full, brush, middle, ignore);
  dab(half, brush, { ...middle, pressure: 0.5 }, ignore);
  assert.ok(Math.abs(at(full, 32, 32) - 0.5 - 2 * (at(half, 32, 32) - 0.5)) < 1e-6);
});

test("a dab over a corner changes the field's part only and reports it", () => {
  const field = grey();
  assert.deepEqual(dab(field, brush, { x: 0, y: 64, pressure: 1 }, ignore), {
    x: 0,
    y: 54,
    width: 10,
    height: 10,
  });
});

test("a dab outside reports nothing", () => {
  assert.equal(
    dab(grey(), brush, { x: -30, y: 10, pressure: 1 }, () => assert.fail("nothing changes")),
    null,
  );
});

test("the region is reported before it changes", () => {
  const field = grey();
  let seen = 0;
  dab(field, brush, middle, ({ x, y, width, height }) => {
    seen = at(field, x + width / 2, y + height / 2);
  });
  assert.equal(seen, 0.5);
});

test("the mean of squares equals a plain loop, also at the borders", () => {
  const next = random(9);
  const field = fieldOf(40, 30, next);
  const region = { x: 3, y: 20, width: 37, height: 10 };
  const means = boxMean(field, region, 4);
  for (let y = region.y; y < 30; y++)
    for (let x = region.x; x < 40; x++) {
      const square = [];
      for (let j = Math.max(y - 4, 0); j <= Math.min(y + 4, 29); j++)
        for (let i = Math.max(x - 4, 0); i <= Math.min(x + 4, 39); i++)
          square.push(field.values[j * 40 + i]!);
      const expected = square.reduce((sum, value) => sum + value, 0) / square.length;
      const actual = means[(y - region.y) * region.width + x - region.x]!;
      assert.ok(Math.abs(actual - expected) < 1e-6, `${x}, ${y}: ${actual} is not ${expected}`);
    }
});
