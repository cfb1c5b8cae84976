import assert from "node:assert/strict";
import { test } from "node:test";
import { framedField, frameFor, isWhole } from "../../../src/canvas/pictures/frame.js";
import { fieldOf } from "../support/fields.js";

const photo = { width: 1200, height: 800 };
const square = { width: 512, height: 512 };

test("cropping takes the largest part of the target's proportions from the middle", () => {
  assert.deepEqual(frameFor(photo, square, "crop"), {
    source: { x: 200, y: 0, width: 800, height: 800 },
    place: { x: 0, y: 0, width: 512, height: 512 },
    target: square,
  });
});

test("padding puts the whole picture into the middle of the target", () => {
  assert.deepEqual(frameFor(photo, square, "pad"), {
    source: { x: 0, y: 0, ...photo },
    place: { x: 0, y: 86, width: 512, height: 341 },
    target: square,
  });
});

test("the same proportions use the whole picture either way", () => {
  for (const fitting of ["crop", "pad"] as const)
    assert.equal(isWhole(frameFor(photo, { width: 768, height: 512 }, fitting), photo), true);
});

test("proportions that differ are not whole", () => {
  for (const fitting of ["crop", "pad"] as const)
    assert.equal(isWhole(frameFor(photo, square, fitting), photo), false);
});

test("a picture of one pixel fits into anything", () => {
  for (const fitting of ["crop", "pad"] as const) {
    const { source, place } = frameFor({ width: 1, height: 1 }, { width: 1024, height: 16 }, fitting);
    assert.ok(source.width >= 1 && source.height >= 1 && place.width >= 1 && place.height >= 1);
  }
});

test("a cropped map has the values of its part, unscaled", () => {
  const field = fieldOf(12, 8, (x, y) => (x + 12 * y) / 96);
  const { width, height, values } = framedField(field, frameFor(field, square, "crop"));
  assert.deepEqual([width, height], [8, 8]);
  assert.equal(values[0], field.values[2]);
  assert.equal(values[63], field.values[12 * 7 + 9]);
});

test("a padded map continues the values at its border", () => {
  const field = fieldOf(12, 8, (x, y) => (x + 12 * y) / 96);
  const { width, height, values } = framedField(field, frameFor(field, square, "pad"));
  assert.deepEqual([width, height], [12, 12]);
  assert.equal(values[5], field.values[5]);
  assert.equal(values[12 * 11 + 5], field.values[12 * 7 + 5]);
  assert.equal(values[12 * 5 + 3], field.values[12 * 3 + 3]);
});
