import assert from "node:assert/strict";
import { test } from "node:test";
import { bounded, makeField } from "../../../src/canvas/field/depth-field.js";
import { fieldOf } from "../support/fields.js";

test("a field that the page can hold stays as it is", () => {
  const field = fieldOf(4096, 2, () => 0.5);
  assert.equal(bounded(field), field);
});

test("a larger field becomes means of its pixels, also at the borders", () => {
  const { width, height, values } = bounded(fieldOf(4099, 3, (x, y) => (x + y) % 2));
  assert.deepEqual([width, height], [2050, 2]);
  assert.equal(values[0], 0.5);
  assert.equal(values[2049], 0.5);
  assert.equal(values[2050], 0.5);
  assert.equal(values[4099], 0);
});

test("an estimate is spread over 0 to 1 whatever its numbers mean", () => {
  const field = makeField(Float32Array.from([-7, 13]), { width: 2, height: 1, origin: "estimate" });
  assert.deepEqual([...field.values], [0, 1]);
});

test("values that are not finite are refused with their place", () => {
  const values = Float32Array.from([0, Number.POSITIVE_INFINITY]);
  assert.throws(() => makeField(values, { width: 2, height: 1, origin: "given" }), /pixel 1 is Infinity/);
});
