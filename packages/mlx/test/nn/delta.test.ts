import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  add,
  array,
  astype,
  divide,
  type MxArray,
  matmul,
  multiply,
  ones,
  reshape,
  sqrt,
  square,
  sum,
  transpose,
  zeros,
} from "../../src/index.js";
import { Adapter, Kronecker, Linear, LinearInput, LowRank, WholeDelta } from "../../src/nn/index.js";
import { dense } from "../support/dense.js";
import { assertClose, normal, values } from "../support/numbers.js";

const [inputs, outputs] = [24, 40];
const x = normal([2, 5, inputs], 1);
const weight = normal([outputs, inputs], 2, 0.1);
const bias = normal([outputs], 3);

const linear = (): Linear => {
  const layer = new Linear(inputs, outputs);
  layer.replace("weight", multiply(weight, 1));
  layer.replace("bias", multiply(bias, 1));
  return layer;
};

/** `x matrixᵀ + b`. */
const product = (matrix: MxArray): MxArray => add(matmul(x, transpose(matrix)), bias);

describe("a Kronecker product as a change", () => {
  const [left, right] = [normal([5, 4], 4), normal([8, 6], 5)];
  /** Rows of the product by its definition. */
  function rowsOf(from: number, to: number): MxArray {
    const [l, r] = [values(left), values(right)];
    const data = Float32Array.from({ length: (to - from) * inputs }, (_, i) => {
      const [row, column] = [from + Math.floor(i / inputs), i % inputs];
      return l[Math.floor(row / 8) * 4 + Math.floor(column / 6)]! * r[(row % 8) * 6 + (column % 6)]!;
    });
    return array(data, { shape: [to - from, inputs] });
  }

  it("has the entries of the definition", () => {
    const whole = new Kronecker(left, right, { factor: 0.5 }).dense();
    assertClose(whole, multiply(rowsOf(0, outputs), 0.5), 1e-6);
  });

  it("acts like its matrix", () => {
    const delta = new Kronecker(left, right, { factor: 0.5 });
    assertClose(delta.apply(new LinearInput(x), "float32"), matmul(x, transpose(delta.dense())), 1e-6);
  });

  for (const range of [
    [0, 16],
    [16, 40],
    [3, 21],
    [13, 14],
  ] as const)
    it(`can be cut to the rows ${range.join(" to ")}`, () => {
      const delta = new Kronecker(left, right, { range });
      assertClose(delta.dense(), rowsOf(range[0], range[1]), 1e-6);
      assertClose(delta.apply(new LinearInput(x), "float32"), matmul(x, transpose(delta.dense())), 1e-6);
    });

  it("refuses factors that are not matrices", () => {
    assert.throws(() => new Kronecker(zeros([4]), right), /Kronecker: expected two matrices, not \[4\]/);
  });
});

describe("a whole matrix as a change", () => {
  it("is added to the weight", () => {
    const layer = linear();
    const change = normal([outputs, inputs], 6, 0.1);
    layer.attach(new Adapter(new WholeDelta(multiply(change, 1)), { scale: -0.5 }));
    assertClose(layer.forward(x), product(add(weight, multiply(change, -0.5))), 1e-6);
  });
});

describe("a change of the bias", () => {
  it("is added with the scale", () => {
    const layer = linear();
    layer.attach(new Adapter(null, { scale: 2, bias: ones([outputs]) }));
    assertClose(layer.forward(x), add(product(weight), 2), 1e-6);
  });

  it("must fit the layer", () => {
    assert.throws(
      () => linear().attach(new Adapter(null, { bias: ones([3]) })),
      /a bias of \[3\] does not fit/,
    );
  });
});

describe("gains", () => {
  const low = (): LowRank => new LowRank(normal([4, inputs], 7, 0.1), normal([outputs, 4], 8, 0.1), 0.5);
  for (const axis of ["rows", "columns"] as const)
    for (const scale of [1, 0.6, -1])
      it(`of ${axis} give W + ${scale} · (g ∘ (W + D) − W), and leave the bias alone`, () => {
        const adapted = add(weight, low().dense());
        const along = axis === "rows" ? 1 : 0;
        const norms = sqrt(sum(square(adapted), { axis: along, keepDims: true }));
        const gains = divide(normal(axis === "rows" ? [outputs, 1] : [1, inputs], 9), norms);
        const target = multiply(gains, adapted);
        const layer = linear();
        const values = multiply(axis === "rows" ? reshape(gains, [outputs]) : reshape(gains, [inputs]), 1);
        layer.attach(new Adapter(low(), { scale, gain: { axis, values } }));
        const expected = add(multiply(weight, 1 - scale), multiply(target, scale));
        assertClose(layer.forward(x), product(expected), 2e-6);
      });

  it("must fit the layer", () => {
    const gain = { axis: "rows", values: ones([inputs]) } as const;
    assert.throws(
      () => linear().attach(new Adapter(null, { gain })),
      /a gain of \[24\] for rows does not fit/,
    );
  });
});

describe("the change of an adapter as a matrix", () => {
  const merged = (adapter: Adapter): MxArray => {
    const layer = linear();
    layer.replaceMatrix(add(layer.weight, adapter.change(layer.weight)));
    return layer.forward(x);
  };

  for (const [what, options] of [
    ["its scale", { scale: -0.6 }],
    ["gains of rows", { scale: 0.6, gain: { axis: "rows", values: normal([outputs], 9, 0.1, 1) } }],
    ["gains of columns", { scale: 0.6, gain: { axis: "columns", values: normal([inputs], 9, 0.1, 1) } }],
  ] as const)
    it(`gives the same as the attached adapter, with ${what}`, () => {
      const make = (): Adapter =>
        new Adapter(new LowRank(normal([4, inputs], 7, 0.1), normal([outputs, 4], 8, 0.1), 0.5), options);
      const layer = linear();
      layer.attach(make());
      assertClose(merged(make()), layer.forward(x), 2e-6);
    });
});

describe("a replaced matrix", () => {
  it("is quantized like the one before", () => {
    const layer = new Linear(64, outputs);
    layer.replace("weight", normal([outputs, 64], 10));
    layer.quantize({ bits: 4, groupSize: 32 });
    const other = new Linear(64, outputs);
    other.replace("weight", normal([outputs, 64], 11));
    layer.replaceMatrix(other.weight);
    other.quantize({ bits: 4, groupSize: 32 });
    assert.deepEqual(layer.quantization, { bits: 4, groupSize: 32 });
    assert.deepEqual(dense(layer.weight), dense(other.weight));
    assert.deepEqual(dense(layer.scales!), dense(other.scales!));
  });

  it("keeps the dtype of the one before", () => {
    const layer = linear();
    layer.replace("weight", astype(layer.weight, "bfloat16"));
    layer.replaceMatrix(normal([outputs, inputs], 12));
    assert.equal(layer.weight.dtype, "bfloat16");
  });
});

describe("adapters with one dial", () => {
  it("change their strength together", () => {
    const dial = { scale: 1 };
    const [first, second] = [linear(), linear()];
    for (const layer of [first, second])
      layer.attach(new Adapter(new WholeDelta(ones([outputs, inputs])), { scale: dial }));
    dial.scale = 0;
    for (const layer of [first, second])
      assert.deepEqual(dense(layer.forward(x)), dense(linear().forward(x)));
  });
});
