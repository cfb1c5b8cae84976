import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { chosenSize, needsFrame, sizeOf } from "../../src/state/size.js";

const megapixel = 1024 * 1024;

describe("the size of an image", () => {
  test("has the picture's proportions, the usual area and sides in multiples of 16", () => {
    assert.deepEqual(sizeOf(3 / 2, megapixel), { width: 1248, height: 832 });
    assert.deepEqual(chosenSize({ mode: "auto" }, { width: 600, height: 400 }, 256 * 256), {
      width: 320,
      height: 208,
    });
  });

  test("is square without a picture", () => {
    assert.deepEqual(chosenSize({ mode: "auto" }, null, megapixel), { width: 1024, height: 1024 });
  });

  test("is rounded where somebody typed it", () => {
    assert.deepEqual(chosenSize({ mode: "custom", width: 500, height: 3 }, null, megapixel), {
      width: 496,
      height: 16,
    });
  });

  test("asks for a crop where proportions differ by more than the rounding", () => {
    for (const picture of [
      { width: 600, height: 400 },
      { width: 4032, height: 3024 },
      { width: 1000, height: 777 },
    ])
      assert.equal(needsFrame(picture, sizeOf(picture.width / picture.height, megapixel)), false);
    assert.equal(needsFrame({ width: 600, height: 400 }, { width: 1024, height: 1024 }), true);
    assert.equal(needsFrame({ width: 400, height: 600 }, { width: 1024, height: 1024 }), true);
  });
});
