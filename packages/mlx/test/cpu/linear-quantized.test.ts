import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { astype, quantize, random } from "../../src/index.js";
import { native } from "../../src/load.js";
import { halves, integerLinear, near, numbers, onLinux } from "../support/fused.js";

describe("fused quantized Linear", onLinux, () => {
  it("equals the product with the unpacked matrix at every bit width", () => {
    for (const bits of [2, 3, 4, 5, 6, 8] as const)
      for (const [rows, inputs, features, groupSize] of [
        [1, 64, 1, 64],
        [5, 640, 300, 64],
        [3, 1088, 257, 32],
      ] as const) {
        const x = random.normal([rows, inputs], { key: random.key(rows) });
        const matrix = quantize(random.normal([features, inputs], { key: random.key(bits) }), {
          bits,
          groupSize,
        });
        const bias = random.normal([features], { key: random.key(7) });
        // Unpacks the integers itself, lowest bit first, instead of using MLX's dequantize.
        const packed = matrix.weight.toTypedArray() as Uint32Array;
        const [scales, biases] = [numbers(matrix.scales), numbers(matrix.biases)];
        const words = packed.length / features;
        const weight = (feature: number, input: number): number => {
          let value = 0;
          for (let bit = 0; bit < bits; bit++) {
            const at = input * bits + bit;
            value |= ((packed[feature * words + (at >> 5)]! >>> (at & 31)) & 1) << bit;
          }
          const group = (feature * inputs) / groupSize + Math.floor(input / groupSize);
          return value * scales[group]! + biases[group]!;
        };
        const xs = numbers(x);
        const biasOf = numbers(bias);
        const product = Array.from({ length: rows * features }, (_, at) => {
          let sum = 0;
          for (let i = 0; i < inputs; i++)
            sum += xs[Math.floor(at / features) * inputs + i]! * weight(at % features, i);
          return sum;
        });
        const args = [x, matrix.weight, matrix.scales, matrix.biases] as const;
        near(native.fusedQuantizedLinear(...args, null, groupSize, bits, null), product);
        near(
          native.fusedQuantizedLinear(...args, bias, groupSize, bits, null),
          product.map((v, at) => v + biasOf[at % features]!),
        );
      }
  });

  it("gives the same bits for 16-bit scales and biases as for their float32 values", () => {
    for (const dtype of halves)
      for (const bits of [3, 4, 8] as const) {
        const x = random.normal([5, 640], { key: random.key(1) });
        const held = quantize(astype(random.normal([70, 640], { key: random.key(2) }), dtype), { bits });
        assert.equal(held.scales.dtype, dtype);
        const wide = { scales: astype(held.scales, "float32"), biases: astype(held.biases, "float32") };
        const kinds: (typeof integerLinear)[] = [native.fusedQuantizedLinear];
        if (native.multipliesIntegers(bits)) kinds.push(integerLinear);
        for (const product of kinds)
          assert.deepEqual(
            numbers(product(x, held.weight, held.scales, held.biases, null, 64, bits, null)),
            numbers(product(x, held.weight, wide.scales, wide.biases, null, 64, bits, null)),
          );
      }
  });
});
