import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, arrayEqual, dequantize, random, take } from "../../src/index.js";
import { Embedding, randomize } from "../../src/nn/index.js";
import { assertClose } from "../support/numbers.js";

describe("Embedding", () => {
  it("looks up the rows of a dense and of a quantized table", () => {
    const embedding = new Embedding(11, 64);
    randomize(embedding, random.key(44), 1);
    const ids = array(
      [
        [3, 0],
        [10, 3],
      ],
      { dtype: "int32" },
    );
    const rows = embedding.forward(ids);
    assert.equal(arrayEqual(rows, take(embedding.weight, ids, 0)).item(), true);
    embedding.quantize({ bits: 8 });
    const { weight, scales, biases } = embedding;
    const dense = dequantize({ weight, scales: scales!, biases: biases! }, { bits: 8 });
    assert.equal(arrayEqual(embedding.forward(ids), take(dense, ids, 0)).item(), true);
    assertClose(embedding.forward(ids), rows, 1e-2);
  });
});
