import { describe, it } from "node:test";
import { random } from "../../src/index.js";
import { native } from "../../src/load.js";
import { near, numbers, onLinux } from "../support/fused.js";

describe("fused convolution", onLinux, () => {
  it("equals the sum over the kernel, with and without a bias", () => {
    for (const [batch, height, width, channels, features, kernel, stride, before, after] of [
      [1, 1, 1, 1, 1, 1, 1, 0, 0],
      [2, 5, 7, 3, 4, 3, 1, 1, 1],
      // Several bands, and a border on two sides only.
      [1, 23, 131, 2, 5, 3, 1, 2, 0],
      [1, 12, 139, 3, 2, 3, 2, 0, 1],
      [1, 9, 9, 4, 3, 4, 4, 0, 0],
      // By Winograd's algorithm: odd sides, several images, and an image of one row.
      [1, 33, 35, 34, 33, 3, 1, 1, 1],
      [2, 32, 36, 32, 40, 3, 1, 0, 1],
      [1, 1, 1031, 32, 32, 3, 1, 1, 1],
    ] as const) {
      const x = random.normal([batch, height, width, channels], { key: random.key(1) });
      const weight = random.normal([features, kernel, kernel, channels], { key: random.key(2) });
      const bias = random.normal([features], { key: random.key(3) });
      const [xs, ws, bs] = [numbers(x), numbers(weight), numbers(bias)];
      const rows = Math.floor((height + before + after - kernel) / stride) + 1;
      const columns = Math.floor((width + before + after - kernel) / stride) + 1;
      const expected: number[] = [];
      for (let b = 0; b < batch; b++)
        for (let row = 0; row < rows; row++)
          for (let column = 0; column < columns; column++)
            for (let f = 0; f < features; f++) {
              let sum = bs[f]!;
              for (let ky = 0; ky < kernel; ky++)
                for (let kx = 0; kx < kernel; kx++) {
                  const [y, z] = [row * stride + ky - before, column * stride + kx - before];
                  if (y < 0 || y >= height || z < 0 || z >= width) continue;
                  for (let c = 0; c < channels; c++)
                    sum +=
                      xs[((b * height + y) * width + z) * channels + c]! *
                      ws[((f * kernel + ky) * kernel + kx) * channels + c]!;
                }
              expected.push(sum);
            }
      near(native.fusedConvolution(x, weight, bias, null, null, stride, before, after, 1), expected);
      near(
        native.fusedConvolution(x, weight, null, null, null, stride, before, after, 1),
        expected.map((v, at) => v - bs[at % features]!),
      );
    }
  });
});
