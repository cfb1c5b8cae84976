import assert from "node:assert/strict";
import { it } from "node:test";
import { astype, concatenate, type MxArray, random } from "../../src/index.js";
import { Linear, LinearInput, randomize, setQuantizedProducts } from "../../src/nn/index.js";
import { dense } from "../support/dense.js";

it("an input in parts gives the result of the whole input", () => {
  // The last parts do not consist of whole groups.
  for (const dtype of ["float32", "bfloat16"] as const)
    for (const widths of [[128], [64, 128], [96, 32, 64]] as const) {
      const parts = widths.map((width) =>
        astype(random.normal([2, 3, width], { key: random.key(width) }), dtype),
      );
      const whole = concatenate(parts, -1);
      const input = new LinearInput(...(parts as [MxArray, ...MxArray[]]));
      assert.deepEqual(input.shape, whole.shape);
      for (const bits of [null, 4, 8] as const)
        for (const products of ["exact", "int8"] as const) {
          const layer = new Linear(whole.shape.at(-1)!, 40);
          randomize(layer, random.key(1), 0.1);
          for (const [name, value] of layer.ownParameters()) layer.replace(name, astype(value, dtype));
          if (bits) layer.quantize({ bits });
          setQuantizedProducts(layer, products);
          assert.deepEqual(dense(layer.forward(input, "silu")), dense(layer.forward(whole, "silu")));
        }
    }
});
