import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { add, conv2d, convTranspose2d, type MxArray, random } from "../../src/index.js";
import { Conv2d, ConvTranspose2d, randomize } from "../../src/nn/index.js";
import { assertClose, normal, onCpu, relativeError, values } from "../support/numbers.js";

describe("convolutions", () => {
  /** Convolves with plain loops; `weight` in PyTorch's order, `[out, in, k, k]`. */
  function convolved(
    x: MxArray,
    weight: MxArray,
    bias: MxArray,
    { stride, padding }: { stride: number; padding: number },
  ): Float64Array {
    const [n, h, w, c] = x.shape as [number, number, number, number];
    const [out, , k] = weight.shape as [number, number, number];
    const [rows, columns] = [h, w].map((size) => Math.floor((size + 2 * padding - k) / stride) + 1) as [
      number,
      number,
    ];
    const [input, filter, offset] = [values(x), values(weight), values(bias)];
    const y = new Float64Array(n * rows * columns * out);
    for (let image = 0; image < n; image++)
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++)
          for (let o = 0; o < out; o++) {
            let sum = offset[o]!;
            for (let dy = 0; dy < k; dy++)
              for (let dx = 0; dx < k; dx++) {
                const [iy, ix] = [row * stride + dy - padding, column * stride + dx - padding];
                if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
                for (let i = 0; i < c; i++)
                  sum +=
                    input[((image * h + iy) * w + ix) * c + i]! * filter[((o * c + i) * k + dy) * k + dx]!;
              }
            y[((image * rows + row) * columns + column) * out + o] = sum;
          }
    return y;
  }

  it("Conv2d loads PyTorch's weights and computes the sum", async () => {
    for (const [kernelSize, stride, padding] of [
      [3, 1, 1],
      [3, 2, 0],
      [1, 1, 0],
      [5, 3, 2],
    ] as const) {
      const conv = new Conv2d(3, 4, { kernelSize, stride, padding });
      const weight = normal([4, 3, kernelSize, kernelSize], 10);
      const bias = normal([4], 11);
      const x = normal([2, 9, 6, 3], 12);
      const expected = convolved(x, weight, bias, { stride, padding });
      await conv.load([
        ["weight", weight],
        ["bias", bias],
      ]);
      const y = conv.forward(x);
      const error = relativeError(values(y), expected);
      assert.ok(error <= 1e-6, `kernel ${kernelSize}, stride ${stride}: ${error}`);
    }
  });

  it("Conv2d in bands equals the convolution of the whole image", onCpu, () => {
    for (const { stride, padding } of [
      { stride: 1, padding: 1 },
      { stride: 2, padding: 0 },
      { stride: 2, padding: 1 },
    ]) {
      const conv = new Conv2d(48, 8, { kernelSize: 3, stride, padding });
      randomize(conv, random.key(13), 0.1);
      const x = normal([1, 401 * stride, 128 * stride, 48], 14);
      const whole = add(conv2d(x, conv.weight, { stride, padding }), conv.bias!);
      const y = conv.forward(x);
      assertClose(y, whole, 1e-6);
    }
  });

  for (const [kernelSize, stride, padding] of [
    [3, 2, 1],
    [2, 2, 0],
    [3, 3, 0],
  ] as const)
    it(`ConvTranspose2d loads PyTorch's weights and adds a patch of ${kernelSize} per input, stride ${stride}`, async () => {
      const conv = new ConvTranspose2d(3, 4, { kernelSize, stride, padding });
      const weight = normal([3, 4, kernelSize, kernelSize], 15);
      const bias = normal([4], 16);
      const x = normal([1, 4, 5, 3], 17);
      const [input, filter, offset] = [values(x), values(weight), values(bias)];
      const [rows, columns] = [4, 5].map((n) => (n - 1) * stride - 2 * padding + kernelSize) as [
        number,
        number,
      ];
      const expected = new Float64Array(rows * columns * 4);
      for (let at = 0; at < rows * columns; at++)
        for (let o = 0; o < 4; o++) expected[at * 4 + o] = offset[o]!;
      for (let iy = 0; iy < 4; iy++)
        for (let ix = 0; ix < 5; ix++)
          for (let dy = 0; dy < kernelSize; dy++)
            for (let dx = 0; dx < kernelSize; dx++) {
              const [row, column] = [iy * stride + dy - padding, ix * stride + dx - padding];
              if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
              for (let o = 0; o < 4; o++)
                for (let i = 0; i < 3; i++)
                  expected[(row * columns + column) * 4 + o]! +=
                    input[(iy * 5 + ix) * 3 + i]! *
                    filter[((i * 4 + o) * kernelSize + dy) * kernelSize + dx]!;
            }
      await conv.load([
        ["weight", weight],
        ["bias", bias],
      ]);
      const y = conv.forward(x);
      assert.deepEqual(y.shape, [1, rows, columns, 4]);
      assert.ok(relativeError(values(y), expected) <= 1e-6);
      assertClose(y, add(convTranspose2d(x, conv.weight, { stride, padding }), conv.bias!), 1e-6);
    });
});
