import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { astype, quantize, random } from "../../src/index.js";
import { native } from "../../src/load.js";
import { integerLinear, near, numbers, onLinux } from "../support/fused.js";

describe("fused Linear with an activation", onLinux, () => {
  it("applies the activation to the product", () => {
    const x = random.normal([5, 128], { key: random.key(1) });
    const w = random.normal([300, 128], { key: random.key(2) });
    const bias = random.normal([300], { key: random.key(3) });
    const half = astype(w, "bfloat16");
    const matrix = quantize(w, { bits: 4 });
    const quantized = [x, matrix.weight, matrix.scales, matrix.biases, bias, 64, 4] as const;
    const layers = [
      (activation: string | null) => native.fusedLinear(x, half, bias, activation),
      (activation: string | null) => native.fusedQuantizedLinear(...quantized, activation),
      ...(native.multipliesIntegers(4)
        ? [(activation: string | null) => integerLinear(...quantized, activation)]
        : []),
    ];
    for (const layer of layers)
      for (const kind of ["silu", "gelu", "geluTanh", "quickGelu"])
        near(layer(kind), numbers(native.fusedActivation(layer(null), kind)), 1e-7);
  });

  it("rejects an unknown activation", () => {
    const x = random.normal([5, 128], { key: random.key(1) });
    const w = astype(random.normal([300, 128], { key: random.key(2) }), "bfloat16");
    assert.throws(() => native.fusedLinear(x, w, null, "swish"), /unknown activation "swish"/);
  });
});
