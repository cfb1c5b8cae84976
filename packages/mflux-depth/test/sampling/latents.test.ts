import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { array, loadSafetensors } from "@mflux-depth/mlx";
import {
  addNoise,
  fromChannelsFirst,
  latentShape,
  patchPacking,
  toChannelsFirst,
} from "../../src/sampling/latents.js";
import { at } from "../support/tensors.js";

describe("the noise of a seed", () => {
  test("is that of mflux, bit by bit", () => {
    const { arrays } = loadSafetensors(at("../mlx/test/golden/mlx.safetensors"));
    let compared = 0;
    for (const [name, expected] of arrays) {
      const [, seed, width, height] = /^noise_(\d+)_(\d+)x(\d+)$/.exec(name)?.map(Number) ?? [];
      if (seed !== undefined && width !== undefined && height !== undefined) {
        using noise = patchPacking.noise(seed, { rows: height / 16, columns: width / 16, channels: 16 });
        assert.deepEqual(noise.shape, expected.shape);
        assert.deepEqual(noise.toTypedArray(), expected.toTypedArray());
        compared++;
      }
      expected.dispose();
    }
    assert.ok(compared >= 3);
  });
});

describe("packing", () => {
  const grid = { rows: 2, columns: 3, channels: 5 };
  const [height, width] = [4, 6];
  const data = Float32Array.from({ length: 5 * height * width }, (_, i) => i);

  test("makes a token of each patch, channel by channel", () => {
    using latents = fromChannelsFirst(data, grid);
    using tokens = patchPacking.pack(latents, grid);
    assert.deepEqual(tokens.shape, [1, 6, 20]);
    const indexOf = (channel: number, y: number, x: number): number => (channel * height + y) * width + x;
    const values = tokens.toTypedArray();
    for (let row = 0; row < 2; row++)
      for (let column = 0; column < 3; column++)
        for (let i = 0; i < 20; i++) {
          const [channel, y, x] = [
            Math.floor(i / 4),
            2 * row + (Math.floor(i / 2) % 2),
            2 * column + (i % 2),
          ];
          assert.equal(values[(row * 3 + column) * 20 + i], indexOf(channel, y, x));
        }
  });

  test("is undone by unpacking", () => {
    using latents = fromChannelsFirst(data, grid);
    using tokens = patchPacking.pack(latents, grid);
    using unpacked = patchPacking.unpack(tokens, grid);
    using channelsFirst = toChannelsFirst(unpacked);
    assert.deepEqual(channelsFirst.shape, [1, 5, 4, 6]);
    assert.deepEqual(channelsFirst.toTypedArray(), data);
  });

  test("has a grid whose latents have this shape", () => {
    assert.deepEqual(latentShape(grid), [1, 5, 4, 6]);
  });
});

describe("addNoise", () => {
  test("mixes noise and clean latents by the noise level", () => {
    using clean = array([8, -4]);
    using noise = array([1, 2]);
    using noisy = addNoise(clean, noise, 0.25);
    assert.deepEqual([...noisy.toTypedArray()], [6.25, -2.5]);
  });
});
