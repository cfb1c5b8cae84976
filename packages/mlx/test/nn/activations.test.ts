import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, type DType, type MxArray } from "../../src/index.js";
import { gelu, geluTanh, quickGelu, relu, silu } from "../../src/nn/index.js";
import { formulas } from "../support/activations.js";
import { relativeError, values } from "../support/numbers.js";

/** Rounds the values to a 16-bit dtype and back. */
const roundedTo = (x: number[], dtype: DType): Float32Array => values(array(x, { dtype }));

describe("activations", () => {
  const inputs = Array.from({ length: 401 }, (_, i) => Math.fround((i - 200) / 25));
  const cases: [string, (x: MxArray) => MxArray, (x: number) => number][] = [
    ["silu", silu, formulas.silu],
    ["gelu", gelu, formulas.gelu],
    ["geluTanh", geluTanh, formulas.geluTanh],
    ["quickGelu", quickGelu, formulas.quickGelu],
    ["relu", relu, (x) => Math.max(x, 0)],
  ];
  for (const [name, activation, reference] of cases) {
    it(`${name} is exact to float32`, () => {
      const expected = inputs.map(reference);
      const out = values(activation(array(inputs)));
      for (const [i, y] of expected.entries())
        assert.ok(
          Math.abs(out[i]! - y) <= 3e-7 * Math.max(1, Math.abs(y)),
          `${name}(${inputs[i]}) = ${out[i]}, not ${y}`,
        );
    });

    it(`${name} rounds the result of a bfloat16 input once`, () => {
      const x = roundedTo(inputs, "bfloat16");
      const expected = roundedTo(Array.from(x, reference), "bfloat16");
      const out = activation(array(inputs, { dtype: "bfloat16" }));
      assert.equal(out.dtype, "bfloat16");
      // Values halfway between two bfloat16 numbers may round to either.
      assert.ok(relativeError(values(out), expected) <= 1e-4);
    });
  }
});
