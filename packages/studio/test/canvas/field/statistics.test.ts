import assert from "node:assert/strict";
import { test } from "node:test";
import { makeField } from "../../../src/canvas/field/depth-field.js";
import { grey, neutralLevels } from "../../../src/canvas/field/levels.js";
import {
  bars,
  percentile,
  percentileOf,
  statisticsOf,
  toneCurve,
} from "../../../src/canvas/field/statistics.js";
import { fieldOf, random } from "../support/fields.js";
import { adjustedMap, normalizedMap } from "../support/library.js";

const next = random(3);
/** Few values at the ends, many equal ones in the middle. */
const field = fieldOf(97, 61, () => {
  const value = next();
  return value < 0.3 ? 0.4 : 0.1 + 0.8 * value ** 3;
});
const statistics = statisticsOf(field);

test("percentiles equal NumPy's: linear between the neighbours in the sorted field", () => {
  const sorted = field.values.slice().sort();
  for (const percent of [0, 0.01, 2, 12.5, 33.3, 50, 97.77, 99.99, 100]) {
    const position = (percent / 100) * (sorted.length - 1);
    const low = Math.floor(position);
    const [a, b] = [sorted[low]!, sorted[Math.min(low + 1, sorted.length - 1)]!];
    assert.equal(percentile(statistics, percent), a + (b - a) * (position - low), `${percent} %`);
  }
});

test("percentiles are right where neighbours lie in bins far apart", () => {
  assert.equal(percentile(statisticsOf(fieldOf(2, 1, (x) => x)), 25), 0.25);
});

test("percentiles of a single pixel are its value", () => {
  assert.equal(percentile(statisticsOf(fieldOf(1, 1, () => 0.7)), 60), Math.fround(0.7));
});

test("the percentile of a value is the share of values below it", () => {
  const even = statisticsOf(fieldOf(1000, 1, (x) => x / 999));
  for (const value of [0, 0.1, 0.5, 0.9, 1])
    assert.ok(Math.abs(percentileOf(even, value) - 100 * value) < 0.2, `${percentileOf(even, value)}`);
});

test("the bars of a histogram have the square roots' proportions, cut off at the third highest", () => {
  const counts = [900, 400, 100, 25];
  const values = counts.flatMap((count, i) => Array.from({ length: count }, () => i / 4));
  const heights = bars(statisticsOf(fieldOf(values.length, 1, (x) => values[x]!)), 8);
  assert.deepEqual(heights, [1, 0, 1, 0, 1, 0, 0.5, 0]);
});

test("a map of one depth has one bar", () => {
  assert.deepEqual(bars(statisticsOf(fieldOf(9, 9, () => 0.3)), 4), [0, 1, 0, 0]);
});

const levels = [
  neutralLevels,
  { ...neutralLevels, invert: true },
  { ...neutralLevels, gamma: 2.2 },
  { near: 98, far: 2, gamma: 1, invert: false },
  { near: 90, far: 25, gamma: 0.45, invert: true },
  { near: 100, far: 1, gamma: 3, invert: true },
];

for (const given of levels)
  test(`a given map becomes the library's with ${JSON.stringify(given)}`, () => {
    const expected = adjustedMap({ ...field, channels: 1, data: field.values }, "a map", given).data;
    const curve = toneCurve(statistics, given)!;
    assert.ok(
      largestDifference(
        expected,
        field.values.map((value) => grey(value, curve)),
      ) < 1e-6,
    );
  });

for (const given of levels)
  test(`an estimate becomes the library's with ${JSON.stringify(given)}`, () => {
    const { width, height } = field;
    const inverse = field.values.map((value) => 40 * value - 3);
    const expected = normalizedMap(
      { width, height, channels: 1, data: inverse },
      width,
      height,
      "a photo",
      given,
    );
    const spread = makeField(inverse, { width, height, origin: "estimate" });
    const curve = toneCurve(statisticsOf(spread), given)!;
    assert.ok(
      largestDifference(
        expected.data,
        spread.values.map((value) => grey(value, curve)),
      ) < 1e-5,
    );
  });

test("percentiles that are equal have no curve", () => {
  assert.equal(toneCurve(statisticsOf(fieldOf(4, 1, () => 0.5)), { ...neutralLevels, near: 90 }), null);
});

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}
