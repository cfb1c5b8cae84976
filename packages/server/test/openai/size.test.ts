import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sizeOf } from "../../src/openai/size.js";

describe("sizeOf", () => {
  test("reads width and height", () =>
    assert.deepEqual(sizeOf("640x480", {}, null), { width: 640, height: 480 }));

  test("takes the photo's proportions for auto, at about the default number of pixels", () => {
    const { width, height } = sizeOf("auto", {}, { width: 4000, height: 3000 });
    assert.deepEqual([width, height], [1168, 880]);
  });

  test("keeps to the largest side for a very long photo", () => {
    const { width, height } = sizeOf("auto", {}, { width: 20_000, height: 16 });
    assert.deepEqual([width, height], [4096, 16]);
  });

  test("leaves a size that options give", () =>
    assert.deepEqual(sizeOf("auto", { width: 64 }, { width: 4000, height: 3000 }), {}));

  for (const size of ["1024", "1024×1024", "ax8", "-1x5", "100000000x1"])
    test(`refuses ${size}`, () => assert.throws(() => sizeOf(size, {}, null), { code: "invalid_value" }));
});
