import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadSafetensors } from "@mflux-depth/mlx";
import { fromChannelsFirst, patchPacking, toChannelsFirst } from "../../src/sampling/latents.js";

describe("latents", () => {
  test("a seed's noise is mflux's, to the bit", () => {
    const { arrays } = loadSafetensors(
      fileURLToPath(new URL("../../../../mlx/test/golden/mlx.safetensors", import.meta.url)),
    );
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

  test("packing puts a patch's channels together, channel-major, and unpacking takes them apart", () => {
    const grid = { rows: 2, columns: 3, channels: 5 };
    const [height, width] = [4, 6];
    const data = Float32Array.from({ length: 5 * height * width }, (_, i) => i);
    using channelsLastData = fromChannelsFirst(data, grid);
    using tokens = patchPacking.pack(channelsLastData, grid);
    assert.deepEqual(tokens.shape, [1, 6, 20]);
    const at = (channel: number, y: number, x: number): number => (channel * height + y) * width + x;
    const values = tokens.toTypedArray();
    for (let row = 0; row < 2; row++)
      for (let column = 0; column < 3; column++)
        for (let i = 0; i < 20; i++) {
          const [channel, y, x] = [
            Math.floor(i / 4),
            2 * row + (Math.floor(i / 2) % 2),
            2 * column + (i % 2),
          ];
          assert.equal(values[(row * 3 + column) * 20 + i], at(channel, y, x));
        }
    using unpacked = patchPacking.unpack(tokens, grid);
    using channelsFirst = toChannelsFirst(unpacked);
    assert.deepEqual(channelsFirst.shape, [1, 5, 4, 6]);
    assert.deepEqual(channelsFirst.toTypedArray(), data);
    using channelsLast = patchPacking.unpack(tokens, grid);
    using again = patchPacking.pack(channelsLast, grid);
    assert.deepEqual(again.toTypedArray(), values);
  });
});
