import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { place, placementOf } from "../../src/images/fit.js";
import { drawn } from "../support/images.js";

const wide = { width: 600, height: 400 };
const square = { width: 256, height: 256 };

describe("placementOf", () => {
  test("stretches an image to the whole canvas", () =>
    assert.deepEqual(placementOf(wide, square, "stretch"), {
      canvas: square,
      ...square,
      left: 0,
      top: 0,
    }));

  test("crops equal parts of the longer side", () =>
    assert.deepEqual(placementOf(wide, square, "crop"), {
      canvas: square,
      width: 384,
      height: 256,
      left: -64,
      top: 0,
    }));

  test("pads equal parts of the shorter side", () =>
    assert.deepEqual(placementOf(wide, square, "pad"), {
      canvas: square,
      width: 256,
      height: 171,
      left: 0,
      top: 42,
    }));

  for (const fit of ["stretch", "crop", "pad"] as const)
    test(`fills a canvas of the image's proportions exactly (${fit})`, () =>
      assert.deepEqual(placementOf(wide, { width: 1200, height: 800 }, fit), {
        canvas: { width: 1200, height: 800 },
        width: 1200,
        height: 800,
        left: 0,
        top: 0,
      }));

  test("leaves at least one pixel of a very long image", () =>
    assert.equal(placementOf({ width: 20_000, height: 10 }, { width: 64, height: 64 }, "pad").height, 1));
});

describe("place", () => {
  const image = drawn(6, 4, (x, y) => 10 * y + x);
  const canvas = { width: 4, height: 4 };

  test("cuts off what lies outside the canvas", () => {
    const placed = place(image, { canvas, width: 6, height: 4, left: -1, top: 0 });
    assert.deepEqual(
      [...placed.data],
      [0, 1, 2, 3].flatMap((y) => [1, 2, 3, 4].map((x) => 10 * y + x)),
    );
  });

  test("repeats the border where the image does not reach", () => {
    const placed = place(image, { canvas: { width: 6, height: 8 }, width: 6, height: 4, left: 0, top: 2 });
    const rows = Array.from({ length: 8 }, (_, y) => placed.data[6 * y]);
    assert.deepEqual(rows, [0, 0, 0, 10, 20, 30, 30, 30]);
  });

  test("keeps the channels of a pixel together", () => {
    const colours = { ...drawn(6, 1, (x) => x), width: 2, channels: 3 };
    const placement = { canvas: { width: 4, height: 1 }, width: 2, height: 1, left: 1, top: 0 };
    assert.deepEqual([...place(colours, placement).data], [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
  });
});
