import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  add,
  array,
  astype,
  concatenate,
  dequantize,
  type MxArray,
  matmul,
  memory,
  multiply,
  ones,
  scope,
  slice,
  sum,
  transpose,
  valueAndGrad,
  zeros,
} from "../../src/index.js";
import {
  type Activation,
  Adapter,
  activations,
  canMultiplyIntegers,
  Linear,
  LinearInput,
  LowRank,
  Module,
  multipliesStored,
  setQuantizedProducts,
} from "../../src/nn/index.js";
import { dense } from "../support/dense.js";
import { assertClose, normal } from "../support/numbers.js";

const [inputs, outputs] = [128, 40];

const x = normal([2, 5, inputs], 1);
const weight = normal([outputs, inputs], 2, 0.1);
const bias = normal([outputs], 3);

const linear = (): Linear => {
  const layer = new Linear(inputs, outputs);
  layer.replace("weight", multiply(weight, 1));
  layer.replace("bias", multiply(bias, 1));
  return layer;
};

const adapter = (rank: number, seed: number, scale = 1): Adapter =>
  lowRank(normal([rank, inputs], seed, 0.1), normal([outputs, rank], seed + 1, 0.1), scale);

const lowRank = (a: MxArray, b: MxArray, scale = 1): Adapter => new Adapter(new LowRank(a, b), { scale });

/** The matrices of a low-rank adapter. */
function matrices({ delta }: Adapter): { a: MxArray; b: MxArray } {
  assert.ok(delta instanceof LowRank);
  return delta;
}

/** `Σ s · B A`, `[out, in]`. */
const delta = (...adapters: Adapter[]): MxArray =>
  adapters
    .map((one) => {
      const { a, b } = matrices(one);
      return multiply(matmul(astype(b, "float32"), astype(a, "float32")), one.scale);
    })
    .reduce((total, one) => add(total, one));

/** `x (matrix)ᵀ + b` in float32. */
const product = (matrix: MxArray): MxArray => add(matmul(x, transpose(matrix)), bias);

describe("Linear with adapters", () => {
  it("equals the merged matrix", () => {
    const layer = linear();
    const one = adapter(4, 10, 0.7);
    layer.attach(one);
    assertClose(layer.forward(x), product(add(weight, delta(one))), 1e-6);
  });

  it("adds adapters of different ranks and signs", () => {
    const layer = linear();
    const [first, second] = [adapter(4, 10, 1.5), adapter(16, 20, -0.8)];
    layer.attach(first);
    layer.attach(second);
    assert.deepEqual(layer.adapters, [first, second]);
    assertClose(layer.forward(x), product(add(weight, delta(first, second))), 1e-6);
  });

  it("uses the scale of the moment", () => {
    const layer = linear();
    const one = adapter(4, 10);
    layer.attach(one);
    for (const scale of [1, -2.5, 0.25]) {
      one.scale = scale;
      assertClose(layer.forward(x), product(add(weight, delta(one))), 1e-6);
    }
  });

  it("gives the plain result to the bit at scale 0", () => {
    const layer = linear();
    const plain = dense(layer.forward(x, "gelu"));
    layer.attach(adapter(4, 10, 0));
    assert.deepEqual(dense(layer.forward(x, "gelu")), plain);
  });

  for (const activation of Object.keys(activations) as Activation[])
    it(`applies ${activation} to the sum`, () => {
      const layer = linear();
      const one = adapter(4, 10, 2);
      layer.attach(one);
      const expected = activations[activation](product(add(weight, delta(one))));
      assertClose(layer.forward(x, activation), expected, 1e-6);
    });

  it("works without a bias", () => {
    const layer = new Linear(inputs, outputs, { bias: false });
    layer.replace("weight", multiply(weight, 1));
    const one = adapter(4, 10, 2);
    layer.attach(one);
    assertClose(layer.forward(x), matmul(x, transpose(add(weight, delta(one)))), 1e-6);
  });

  for (const dtype of ["bfloat16", "float16"] as const) {
    it(`widens ${dtype} weights and adapters held as stored`, { skip: !multipliesStored() }, async () => {
      const layer = new Linear(inputs, outputs);
      await layer.load(
        [
          ["weight", astype(weight, dtype)],
          ["bias", multiply(bias, 1)],
        ],
        { dtype: "float32", matrices: "stored" },
      );
      assert.equal(layer.weight.dtype, dtype);
      const { a, b } = matrices(adapter(4, 10));
      const one = lowRank(astype(a, dtype), astype(b, dtype), 2);
      layer.attach(one);
      assertClose(layer.forward(x), product(add(astype(layer.weight, "float32"), delta(one))), 1e-6);
    });

    it(`computes a float32 adapter in the ${dtype} of the layer`, () => {
      const layer = linear();
      for (const [name, value] of layer.ownParameters()) layer.replace(name, astype(value, dtype));
      const one = adapter(4, 10, 2);
      layer.attach(one);
      const y = layer.forward(astype(x, dtype));
      assert.equal(y.dtype, dtype);
      assertClose(y, product(add(weight, delta(one))), dtype === "bfloat16" ? 1e-2 : 1e-3);
    });
  }

  for (const bits of [4, 8] as const) {
    it(`adds to exact products of ${bits} bits`, () => {
      const layer = linear();
      layer.quantize({ bits });
      const matrix = dequantize(
        { weight: layer.weight, scales: layer.scales!, biases: layer.biases! },
        { bits },
      );
      const one = adapter(4, 10, 2);
      layer.attach(one);
      assertClose(layer.forward(x, "silu"), activations.silu(product(add(matrix, delta(one)))), 1e-6);
    });

    it(`adds to integer products of ${bits} bits, from the unrounded input`, {
      skip: !canMultiplyIntegers(bits),
    }, () => {
      const layer = linear();
      layer.quantize({ bits });
      setQuantizedProducts(layer, "int8");
      const plain = layer.forward(x);
      const one = adapter(4, 10, 2);
      layer.attach(one);
      const expected = add(plain, matmul(x, transpose(delta(one))));
      assertClose(layer.forward(x), expected, 1e-6);
      assertClose(layer.forward(x, "geluTanh"), activations.geluTanh(expected), 1e-6);
    });
  }

  for (const products of ["exact", "int8"] as const)
    it(`takes an input in parts, with ${products} products`, () => {
      const layer = linear();
      layer.quantize({ bits: 4 });
      setQuantizedProducts(layer, products);
      layer.attach(adapter(4, 10, 2));
      const parts = [slice(x, [null, null, [0, 64]]), slice(x, [null, null, [64, 128]])] as const;
      assertClose(layer.forward(new LinearInput(...parts)), layer.forward(concatenate(parts, -1)), 1e-6);
    });

  it("shares an input with another layer", () => {
    const [adapted, plain] = [linear(), linear()];
    const one = adapter(4, 10, 2);
    adapted.attach(one);
    const shared = new LinearInput(x);
    assertClose(adapted.forward(shared), product(add(weight, delta(one))), 1e-6);
    assert.deepEqual(dense(plain.forward(shared)), dense(plain.forward(x)));
  });

  it("passes gradients to the input", () => {
    const layer = linear();
    const one = adapter(4, 10, 2);
    layer.attach(one);
    const { grads } = valueAndGrad((input) => sum(layer.forward(input!)))(x);
    assertClose(grads[0]!, matmul(ones([2, 5, outputs]), add(weight, delta(one))), 1e-6);
  });
});

describe("Linear.attach", () => {
  const refused = { name: "MlxError", message: "attach: the adapter is attached already; detach it first" };

  it("rejects an adapter that it already has", () => {
    const layer = linear();
    const one = adapter(4, 10);
    layer.attach(one);
    assert.throws(() => layer.attach(one), refused);
  });

  it("rejects an adapter of another layer", () => {
    const one = adapter(4, 10);
    linear().attach(one);
    assert.throws(() => linear().attach(one), refused);
  });
});

describe("Linear.detach", () => {
  for (const bits of [null, 4] as const)
    it(`restores the exact result of ${bits ? "a quantized" : "a dense"} layer`, () => {
      const layer = linear();
      if (bits) layer.quantize({ bits });
      const plain = dense(layer.forward(x, "gelu"));
      const [first, second] = [adapter(4, 10, 2), adapter(4, 20, 1)];
      layer.attach(first);
      layer.attach(second);
      assert.notDeepEqual(dense(layer.forward(x, "gelu")), plain);
      layer.detach(first);
      layer.detach(second);
      assert.deepEqual(layer.adapters, []);
      assert.deepEqual(dense(layer.forward(x, "gelu")), plain);
    });

  it("keeps the other adapters", () => {
    const layer = linear();
    const [first, second] = [adapter(4, 10, 2), adapter(4, 20, 1)];
    layer.attach(first);
    layer.attach(second);
    layer.detach(first);
    assertClose(layer.forward(x), product(add(weight, delta(second))), 1e-6);
  });

  it("hands the adapter back: another layer can take it", () => {
    const [one, other] = [linear(), linear()];
    const moved = adapter(4, 10, 2);
    one.attach(moved);
    const expected = dense(one.forward(x));
    one.detach(moved);
    one.dispose();
    other.attach(moved);
    assert.deepEqual(dense(other.forward(x)), expected);
  });

  it("rejects an adapter that is not attached", () => {
    assert.throws(() => linear().detach(adapter(4, 10)), {
      name: "MlxError",
      message: "detach: the adapter is not attached to this layer",
    });
  });
});

describe("adapters of a module", () => {
  class Pair extends Module {
    readonly layers = [new Linear(inputs, outputs), new Linear(inputs, outputs)];
  }
  const checkpoint = (): [string, MxArray][] =>
    [0, 1].flatMap((i): [string, MxArray][] => [
      [`layers.${i}.weight`, multiply(weight, 1)],
      [`layers.${i}.bias`, multiply(bias, 1)],
    ]);

  it("are not parameters", () => {
    const layer = linear();
    layer.attach(adapter(4, 10));
    assert.deepEqual([...layer.parameters().keys()], ["weight", "bias"]);
  });

  it("are not expected in a checkpoint, and stay when one is loaded", async () => {
    using model = new Pair();
    const one = adapter(4, 10, 2);
    model.layers[1]!.attach(one);
    await model.load(checkpoint());
    assertClose(model.layers[1]!.forward(x), product(add(weight, delta(one))), 1e-6);
  });

  it("are unchanged when the layer is quantized", () => {
    const layer = linear();
    const one = adapter(4, 10, 2);
    layer.attach(one);
    layer.quantize({ bits: 4 });
    assert.deepEqual(layer.adapters, [one]);
    assert.equal(matrices(one).a.dtype, "float32");
  });

  it("are kept by a scope that returns their layer", () => {
    const layer = scope(() => {
      const made = linear();
      made.attach(adapter(4, 10, 2));
      return made;
    });
    assert.equal(layer.forward(x).dtype, "float32");
    assert.equal(matrices(layer.adapters[0]!).a.disposed, false);
  });

  it("are disposed with the module", () => {
    const handles = memory.liveHandles();
    const model = new Pair();
    const [first, second] = scope(() => [adapter(4, 10), adapter(4, 20)] as const);
    model.layers[0]!.attach(first);
    model.layers[0]!.attach(second);
    model.dispose();
    assert.ok([first, second].every(({ delta }) => delta!.arrays.every(({ disposed }) => disposed)));
    // The garbage collector may free other handles meanwhile.
    assert.ok(memory.liveHandles() <= handles);
  });
});

describe("adapter shapes", () => {
  const refused = (make: () => unknown, message: string): void =>
    assert.throws(make, { name: "MlxError", message });

  it("must share a rank", () => {
    refused(
      () => new LowRank(zeros([4, 128]), zeros([40, 8])),
      "LowRank: a [4,128] and b [40,8] do not share a rank; expected a [rank, in] and b [out, rank]",
    );
  });

  it("must have two axes", () => {
    refused(
      () => new LowRank(zeros([4, 128, 1]), zeros([40, 4])),
      "LowRank: a [4,128,1] and b [40,4] do not share a rank; expected a [rank, in] and b [out, rank]",
    );
  });

  it("must have a rank of at least 1", () => {
    assert.throws(() => new LowRank(zeros([0, 128]), zeros([40, 0])), /do not share a rank/);
  });

  it("must fit the weight", () => {
    refused(
      () => linear().attach(lowRank(zeros([4, 96]), zeros([40, 4]))),
      "attach: a change of [40,96] does not fit a weight of [40,128]; expected [40,128]",
    );
    assert.throws(
      () => linear().attach(lowRank(zeros([4, 128]), zeros([48, 4]))),
      /a change of \[48,128\] does not fit/,
    );
  });

  it("must be of floating dtypes", () => {
    refused(
      () => new LowRank(array([[1]], { dtype: "int32" }), zeros([1, 1])),
      "LowRank: a is int32 and b is float32; expected floating dtypes",
    );
  });

  it("give the rank", () => {
    assert.equal(new LowRank(zeros([4, 128]), zeros([40, 4])).rank, 4);
  });
});
