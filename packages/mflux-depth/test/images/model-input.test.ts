import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toBytes, toModelInput } from "../../src/images/model-input.js";
import { drawn, noiseBytes } from "../support/images.js";

describe("toModelInput", () => {
  const half = drawn(32, 32, (x) => (x < 16 ? 0 : 1));

  test("clamps where Lanczos overshoots at an edge", async () => {
    const input = await toModelInput(half, 48, 16);
    assert.equal(input.length, 16 * 48 * 3);
    assert.equal(Math.min(...input), -1);
    assert.equal(Math.max(...input), 1);
  });

  test("repeats a grey channel", async () => {
    const input = await toModelInput(half, 48, 16);
    assert.deepEqual([...input.subarray(0, 3)], [-1, -1, -1]);
    for (let p = 0; p < input.length; p += 3)
      assert.ok(input[p] === input[p + 1] && input[p] === input[p + 2]);
  });

  test("maps [0, 1] to −1..1 when the size stays", async () => {
    const levels = noiseBytes(24, 20, 3);
    const image = { data: Float32Array.from(levels, (v) => v / 255), width: 24, height: 20, channels: 3 };
    for (const [i, v] of (await toModelInput(image, 24, 20)).entries())
      assert.ok(Math.abs(v - (levels[i]! / 127.5 - 1)) < 1e-6);
  });
});

describe("toBytes", () => {
  test("clamps, and rounds half to even", () => {
    // 0 becomes ½ · 255 = 127.5, which is exact in float32; 128 is even.
    assert.deepEqual([...toBytes(Float32Array.of(-5, -1, 0, 1, 5))], [0, 0, 128, 255, 255]);
  });

  test("gives back each level", () => {
    const levels = Float32Array.from({ length: 256 }, (_, i) => (i / 255) * 2 - 1);
    assert.deepEqual([...toBytes(levels)], [...levels.keys()]);
  });
});
