import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { scope } from "@mflux-depth/mlx";
import { bilinear } from "../../src/models/interpolate.js";
import { fill, type Grid, noise, pixelAt, plainResize, toArray } from "../support/grid.js";
import { relativeError, values } from "../support/tensors.js";

describe("bilinear", () => {
  const image: Grid = { data: Float64Array.from(noise(24 * 24 * 3)), height: 24, width: 24, channels: 3 };

  for (const size of [6, 9, 24, 25, 40, 96])
    test(`to ${size} is equals plain loops`, () => {
      using input = toArray(image);
      using out = scope(() => bilinear(input, { size }));
      assert.ok(relativeError(values(out), plainResize(image, size, size).data) < 5e-6);
    });

  test("by a ratio keeps the exact step where the size is rounded down", () => {
    using input = toArray(image);
    using out = scope(() => bilinear(input, { ratio: 0.3 }));
    assert.deepEqual(out.shape, [1, 7, 7, 3]);
    assert.ok(relativeError(values(out), plainResize(image, 7, 7, [1 / 0.3, 1 / 0.3]).data) < 5e-6);
  });

  test("to a quarter takes the mean of the middle four of sixteen pixels", () => {
    using input = toArray(image);
    using out = scope(() => bilinear(input, { ratio: 0.25 }));
    const expected = fill([6, 6, 3], (y, x, c) => {
      const [top, left] = [4 * y + 1, 4 * x + 1];
      return (
        (pixelAt(image, top, left, c) +
          pixelAt(image, top + 1, left, c) +
          pixelAt(image, top, left + 1, c) +
          pixelAt(image, top + 1, left + 1, c)) /
        4
      );
    });
    assert.ok(relativeError(values(out), expected.data) < 1e-6);
  });
});
