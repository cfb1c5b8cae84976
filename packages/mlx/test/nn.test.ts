import assert from "node:assert/strict";
import { statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  add,
  array,
  arrayEqual,
  astype,
  type Bits,
  concatenate,
  conv2d,
  convTranspose2d,
  type DType,
  defaultDevice,
  dequantize,
  evaluateSync,
  fast,
  full,
  loadSafetensors,
  type MxArray,
  matmul,
  memory,
  multiply,
  ones,
  quantize,
  random,
  reshape,
  saveSafetensors,
  scope,
  slice,
  softmax,
  swapaxes,
  take,
  transpose,
  zeros,
} from "@mflux-depth/mlx";
import {
  attention,
  Conv2d,
  ConvTranspose2d,
  canMultiplyBfloat16,
  DotProductAttention,
  Embedding,
  GroupNorm,
  gelu,
  geluTanh,
  LayerNorm,
  Linear,
  LinearInput,
  LoadError,
  lazily,
  Module,
  multipliesStored,
  propertyPath,
  quickGelu,
  RMSNorm,
  randomize,
  relu,
  runStages,
  type Stages,
  setAttentionProducts,
  setQuantizedProducts,
  silu,
} from "@mflux-depth/mlx/nn";
import { dense, program, temporaryFolder } from "./support.js";

const onCpu = { skip: defaultDevice() !== "cpu" };
const MiB = 2 ** 20;

/** ‖a − b‖ / ‖b‖. */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** The values as float32. */
const values = (a: MxArray): Float32Array => scope(() => astype(a, "float32").toTypedArray()) as Float32Array;

function assertClose(a: MxArray, b: MxArray, tolerance: number): void {
  assert.deepEqual(a.shape, b.shape);
  const error = relativeError(values(a), values(b));
  assert.ok(error <= tolerance, `relative error ${error}`);
}

const normal = (shape: number[], seed: number, scale = 1, loc = 0): MxArray =>
  random.normal(shape, { key: random.key(seed), scale, loc });

/** The values rounded to a 16-bit dtype and back. */
const roundedTo = (x: number[], dtype: DType): Float32Array => values(array(x, { dtype }));

// erf to double precision: the power series where it converges fast, else the continued fraction of erfc.
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 200; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (x + fraction);
  return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

describe("activations", () => {
  const inputs = Array.from({ length: 401 }, (_, i) => Math.fround((i - 200) / 25));
  const exact: [string, (x: MxArray) => MxArray, (x: number) => number][] = [
    ["silu", silu, (x) => x / (1 + Math.exp(-x))],
    ["gelu", gelu, (x) => (x / 2) * (1 + erf(x * Math.SQRT1_2))],
    [
      "geluTanh",
      geluTanh,
      (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    ],
    ["quickGelu", quickGelu, (x) => x / (1 + Math.exp(-1.702 * x))],
    ["relu", relu, (x) => Math.max(x, 0)],
  ];
  for (const [name, activation, reference] of exact) {
    it(`${name} is exact to float32`, () => {
      const expected = inputs.map(reference);
      const out = values(activation(array(inputs)));
      for (const [i, y] of expected.entries())
        assert.ok(
          Math.abs(out[i]! - y) <= 3e-7 * Math.max(1, Math.abs(y)),
          `${name}(${inputs[i]}) = ${out[i]}, not ${y}`,
        );
    });

    it(`${name} rounds a bfloat16 input's result once`, () => {
      const x = roundedTo(inputs, "bfloat16");
      const expected = roundedTo(Array.from(x, reference), "bfloat16");
      const out = activation(array(inputs, { dtype: "bfloat16" }));
      assert.equal(out.dtype, "bfloat16");
      // Values that lie at the middle between two bfloat16 numbers may go to either.
      assert.ok(relativeError(values(out), expected) <= 1e-4);
    });
  }
});

describe("norms", () => {
  // With an input of RMS 1e-3 an eps of 1e-6 halves the variance's weight: a wrong eps shows by tens of percent.
  const small = normal([3, 7, 48], 1, 1e-3, 5e-4);

  const layerNorm = (x: Float32Array, dims: number, eps: number): Float64Array => {
    const out = new Float64Array(x.length);
    for (let row = 0; row < x.length; row += dims) {
      const part = x.subarray(row, row + dims);
      const mean = part.reduce((sum, v) => sum + v, 0) / dims;
      const variance = part.reduce((sum, v) => sum + (v - mean) ** 2, 0) / dims;
      for (const [i, v] of part.entries()) out[row + i] = (v - mean) / Math.sqrt(variance + eps);
    }
    return out;
  };

  it("LayerNorm uses its eps", () => {
    for (const eps of [1e-6, 1e-5]) {
      const norm = new LayerNorm(48, { eps, affine: false });
      assert.equal(norm.parameters().size, 0);
      const error = relativeError(values(norm.forward(small)), layerNorm(values(small), 48, eps));
      assert.ok(error <= 1e-6, `eps ${eps}: ${error}`);
    }
  });

  it("LayerNorm has weight and bias, or weight alone, or neither", () => {
    const norm = new LayerNorm(48);
    randomize(norm, random.key(2), 0.5);
    const plain = new LayerNorm(48, { affine: false });
    const expected = add(multiply(plain.forward(small), norm.weight!), norm.bias!);
    assertClose(norm.forward(small), expected, 1e-6);
    assert.deepEqual([...new LayerNorm(48, { bias: false }).parameters().keys()], ["weight"]);
  });

  it("RMSNorm uses its eps, and its weight", () => {
    for (const eps of [1e-6, 1e-5]) {
      const norm = new RMSNorm(48, { eps });
      randomize(norm, random.key(3), 0.5);
      const [x, weight] = [values(small), values(norm.weight)];
      const expected = new Float64Array(x.length);
      for (let row = 0; row < x.length; row += 48) {
        const part = x.subarray(row, row + 48);
        const scale = 1 / Math.sqrt(part.reduce((sum, v) => sum + v * v, 0) / 48 + eps);
        for (const [i, v] of part.entries()) expected[row + i] = v * scale * weight[i]!;
      }
      const error = relativeError(values(norm.forward(small)), expected);
      assert.ok(error <= 1e-6, `eps ${eps}: ${error}`);
    }
  });

  it("statistics of 16-bit input are those of float32", () => {
    // A mean far from zero: 16-bit sums would lose the variance.
    const x = astype(normal([4, 512], 4, 1, 20), "bfloat16");
    const wide = astype(x, "float32");
    const group = new GroupNorm(2, 8);
    for (const forward of [
      (a: MxArray) => new LayerNorm(512, { affine: false }).forward(a),
      (a: MxArray) => new RMSNorm(512).forward(a),
      (a: MxArray) => reshape(group.forward(reshape(a, [4, 8, 8, 8])), [4, 512]),
    ]) {
      assert.ok(relativeError(values(astype(forward(x), "float32")), values(forward(wide))) <= 3e-3);
    }
    assert.equal(group.forward(reshape(x, [4, 8, 8, 8])).dtype, "bfloat16");
  });

  const groupNorm = (norm: GroupNorm, x: MxArray, eps: number): Float64Array => {
    const [n, h, w, c] = x.shape as [number, number, number, number];
    const [input, weight, bias] = [values(x), values(norm.weight), values(norm.bias)];
    const out = new Float64Array(input.length);
    const size = c / norm.groups;
    for (let image = 0; image < n; image++)
      for (let group = 0; group < norm.groups; group++) {
        const places: number[] = [];
        for (let at = 0; at < h * w; at++)
          for (let i = 0; i < size; i++) places.push((image * h * w + at) * c + group * size + i);
        const mean = places.reduce((sum, p) => sum + input[p]!, 0) / places.length;
        const variance = places.reduce((sum, p) => sum + (input[p]! - mean) ** 2, 0) / places.length;
        for (const p of places)
          out[p] = ((input[p]! - mean) / Math.sqrt(variance + eps)) * weight[p % c]! + bias[p % c]!;
      }
    return out;
  };

  it("GroupNorm groups neighbouring channels, and uses its eps", () => {
    for (const eps of [1e-6, 1e-5]) {
      const norm = new GroupNorm(3, 12, { eps });
      randomize(norm, random.key(5), 0.5);
      const x = normal([2, 5, 7, 12], 6, 1e-3, 5e-4);
      const error = relativeError(values(norm.forward(x)), groupNorm(norm, x, eps));
      assert.ok(error <= 1e-6, `eps ${eps}: ${error}`);
    }
  });

  it("GroupNorm keeps its digits over a large picture", () => {
    const norm = new GroupNorm(1, 4);
    const x = normal([1, 512, 512, 4], 7, 1, 3);
    const error = relativeError(values(norm.forward(x)), groupNorm(norm, x, 1e-5));
    assert.ok(error <= 2e-6, `${error}`);
  });

  it("GroupNorm refuses groups that do not divide the channels", () => {
    assert.throws(() => new GroupNorm(5, 12), /12 channels cannot form 5 groups/);
  });
});

describe("convolutions", () => {
  /** Plain loops; `weight` in PyTorch's order, `[out, in, k, k]`. */
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

  it("Conv2d takes PyTorch's weights and computes the sum", async () => {
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

  it("Conv2d in bands equals the convolution at once", onCpu, () => {
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
    it(`ConvTranspose2d takes PyTorch's weights and spreads each input over its patch of ${kernelSize}, stride ${stride}`, async () => {
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

describe("attention", () => {
  const scale = 0.3;
  const plainly = (q: MxArray, k: MxArray, v: MxArray, mask: MxArray | null): MxArray => {
    const scores = multiply(matmul(q, swapaxes(k, 2, 3)), scale);
    return matmul(softmax(mask ? add(scores, mask) : scores), v);
  };
  type Operands = [MxArray, MxArray, MxArray];
  const qkv = (batch: number, heads: number, queries: number, keys: number, dims: number): Operands => [
    normal([batch, heads, queries, dims], 20),
    normal([batch, heads, keys, dims], 21),
    normal([batch, heads, keys, dims], 22),
  ];

  it("is softmax(scale q kᵀ) v", () => {
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    assertClose(attention(q, k, v, { scale }), plainly(q, k, v, null), 1e-6);
  });

  it("goes by groups of heads and by blocks of queries", onCpu, () => {
    // 16 MB of scores a head: groups of heads. 100 MB: blocks of its queries. For other dtypes than float32.
    for (const [heads, tokens] of [
      [6, 2000],
      [2, 5000],
    ] as const) {
      const halves = qkv(1, heads, tokens, tokens, 8).map((a) => astype(a, "bfloat16")) as Operands;
      const wide = halves.map((a) => astype(a, "float32")) as Operands;
      const mask = multiply(normal([1, heads, tokens, 1], 23), normal([1, 1, 1, tokens], 24));
      for (const used of [null, mask]) {
        const out = attention(...halves, { scale, mask: used });
        assertClose(out, plainly(...wide, used), 4e-3);
        memory.clearCache();
      }
    }
  });

  it("masks: added, boolean, causal", () => {
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    const shapes = [
      [5, 7],
      [2, 1, 1, 7],
      [3, 5, 7],
      [1, 3, 5, 1],
    ];
    for (const [i, shape] of shapes.entries()) {
      const mask = normal(shape, 30 + i);
      assertClose(attention(q, k, v, { scale, mask }), plainly(q, k, v, mask), 1e-6);
    }
    const allowed = Array.from({ length: 35 }, (_, i) => (i * 5) % 3 !== 0 || i % 7 === 0);
    const boolean = array(allowed.map(Number), { shape: [5, 7], dtype: "bool" });
    const added = array(
      allowed.map((attend) => (attend ? 0 : -1e30)),
      { shape: [5, 7] },
    );
    assertClose(attention(q, k, v, { scale, mask: boolean }), plainly(q, k, v, added), 1e-6);

    const causal = array(
      Array.from({ length: 35 }, (_, i) => (i % 7 <= Math.floor(i / 7) + 2 ? 0 : -1e30)),
      { shape: [5, 7] },
    );
    assertClose(attention(q, k, v, { scale, mask: "causal" }), plainly(q, k, v, causal), 1e-6);
    assertClose(
      attention(q, k, v, { scale, mask: "causal" }),
      fast.scaledDotProductAttention(q, k, v, { scale, mask: "causal" }),
      1e-6,
    );
  });

  it("as a layer takes bfloat16 products where it is told so and the processor has them", () => {
    class Block extends Module {
      readonly inner = new DotProductAttention(scale);
    }
    const block = new Block();
    const [q, k, v] = qkv(2, 3, 5, 7, 8);
    const exact = values(attention(q, k, v, { scale }));
    assert.deepEqual(values(block.inner.forward(q, k, v)), exact);
    setAttentionProducts(block, "bfloat16");
    const out = block.inner.forward(q, k, v);
    assert.deepEqual(out.shape, q.shape);
    const error = relativeError(values(out), exact);
    if (defaultDevice() === "cpu" && canMultiplyBfloat16())
      assert.ok(error > 1e-5 && error < 1e-2, `${error}`);
    else assert.equal(error, 0);
    setAttentionProducts(block, "exact");
    assert.deepEqual(values(block.inner.forward(q, k, v)), exact);
  });

  it("keeps 16-bit dtypes outside and float32 inside", () => {
    const [q, k, v] = qkv(1, 2, 40, 40, 8).map((a) => astype(a, "bfloat16")) as [MxArray, MxArray, MxArray];
    const out = attention(q, k, v, { scale });
    assert.equal(out.dtype, "bfloat16");
    const wide = [q, k, v].map((a) => astype(a, "float32")) as [MxArray, MxArray, MxArray];
    assertClose(out, plainly(...wide, null), 4e-3);
  });
});

describe("Linear and Embedding", () => {
  it("hold what is stored in 16 bits so, and give what the float32 matrix gives", {
    skip: multipliesStored() ? false : "matrices are multiplied as they are stored on a Linux CPU",
  }, async () => {
    const x = normal([9, 128], 50);
    const ids = array([3, 0, 39], { dtype: "int32" });
    for (const dtype of ["bfloat16", "float16"] as const)
      for (const quantization of [undefined, { bits: 4 }] as const)
        for (const fromQuantizedFile of quantization ? [false, true] : [false]) {
          const load = async <L extends Linear | Embedding>(
            layer: L,
            matrices: "cast" | "stored",
          ): Promise<L> => {
            const weight = astype(normal([40, 128], 51), dtype);
            const tensors: [string, MxArray][] = fromQuantizedFile
              ? Object.entries(quantize(weight, quantization!))
              : [["weight", weight]];
            if (layer instanceof Linear) tensors.push(["bias", astype(normal([40], 52), dtype)]);
            await layer.load(tensors, {
              dtype: "float32",
              matrices,
              ...(quantization && !fromQuantizedFile && { quantization }),
            });
            return layer;
          };
          const [cast, stored] = [
            await load(new Linear(128, 40), "cast"),
            await load(new Linear(128, 40), "stored"),
          ];
          assert.equal((stored.scales ?? stored.weight).dtype, dtype);
          assert.equal(stored.bias!.dtype, "float32");
          assert.equal(stored.dtype, "float32");
          const [expected, product] = [cast.forward(x), stored.forward(x)];
          if (quantization) assert.deepEqual(values(product), values(expected));
          else assertClose(product, expected, 1e-6);

          const tables = [
            await load(new Embedding(40, 128), "cast"),
            await load(new Embedding(40, 128), "stored"),
          ];
          const [castRows, storedRows] = tables.map((table) => table.forward(ids));
          assert.equal(storedRows!.dtype, "float32");
          assert.deepEqual(values(storedRows!), values(castRows!));
        }
  });

  it("cast again what is loaded over a matrix that was held as stored", async () => {
    const linear = new Linear(64, 8, { bias: false });
    const weight = (): [string, MxArray] => ["weight", astype(normal([8, 64], 53), "bfloat16")];
    await linear.load([weight()], { dtype: "float32", matrices: "stored" });
    assert.deepEqual([linear.dtype, linear.weight.dtype], ["float32", "bfloat16"]);
    await linear.load([weight()], { dtype: "float32" });
    assert.deepEqual([linear.dtype, linear.weight.dtype], ["float32", "float32"]);
    await linear.load([weight()]);
    assert.equal(linear.dtype, "bfloat16");
  });

  it("Linear is x Wᵀ + b", async () => {
    const linear = new Linear(5, 3);
    await linear.load([
      [
        "weight",
        array(
          Array.from({ length: 15 }, (_, i) => i),
          { shape: [3, 5] },
        ),
      ],
      ["bias", array([100, 200, 300])],
    ]);
    assert.deepEqual(
      [
        ...values(
          linear.forward(
            array([
              [1, 0, 0, 0, 2],
              [0, 1, 0, 0, 0],
            ]),
          ),
        ),
      ],
      [108, 223, 338, 101, 206, 311],
    );
    assert.deepEqual([...new Linear(5, 3, { bias: false }).parameters().keys()], ["weight"]);
  });

  const golden = loadSafetensors(
    new URL("../../test/golden/mlx.safetensors", import.meta.url).pathname,
  ).arrays;
  for (const dtype of ["f32", "bf16"] as const)
    for (const bits of [3, 4, 5, 6, 8] as const) {
      it(`Linear quantized to ${bits} bits is MLX's own, ${dtype}`, async () => {
        const tensor = (name: string): MxArray => golden.get(`${dtype}.${name}`)!;
        const stored = tensor(`q${bits}.dequantized`);
        const reference = tensor(`q${bits}.matmul`);
        const linear = new Linear(256, 96, { bias: false });
        await linear.load([["weight", scope(() => multiply(tensor("weight"), 1))]], {
          quantization: { bits },
        });
        assert.deepEqual(linear.quantization, { bits, groupSize: 64 });
        const held = dequantize(
          { weight: linear.weight, scales: linear.scales!, biases: linear.biases! },
          { bits },
        );
        assert.equal(arrayEqual(held, stored).item(), true);
        assertClose(linear.forward(tensor("x")), reference, dtype === "f32" ? 1e-5 : 1e-2);
      });
    }

  it("quantized Linear equals dequantize and matmul for any number of rows", () => {
    const linear = new Linear(128, 70);
    randomize(linear, random.key(40), 0.3);
    linear.quantize({ bits: 4, groupSize: 32 });
    const { weight, scales, biases, bias } = linear;
    const dense = dequantize({ weight, scales: scales!, biases: biases! }, { bits: 4, groupSize: 32 });
    for (const rows of [1, 3, 64, 300]) {
      const x = normal([2, rows, 128], 41);
      assertClose(linear.forward(x), add(matmul(x, transpose(dense)), bias!), 2e-6);
    }
  });

  it("quantized Linear goes by panels of a large matrix", onCpu, async () => {
    const [features, outputs] = [1024, 65536];
    const linear = new Linear(features, outputs, { bias: false });
    await linear.load([["weight", normal([outputs, features], 42, 0.02)]], { quantization: { bits: 4 } });
    const x = normal([40, features], 43);
    evaluateSync(x);
    const out = linear.forward(x);
    const { weight, scales, biases } = linear;
    const last = slice(
      matmul(
        x,
        transpose(
          dequantize({
            weight: slice(weight, [[outputs - 5, outputs]]),
            scales: slice(scales!, [[outputs - 5, outputs]]),
            biases: slice(biases!, [[outputs - 5, outputs]]),
          }),
        ),
      ),
      [null],
    );
    assertClose(slice(out, [null, [outputs - 5, outputs]]), last, 2e-6);
    linear.dispose();
  });

  it("Embedding takes rows, dense and quantized alike", () => {
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

class Block extends Module {
  readonly toOut: readonly [Linear, null];
  readonly norm1: LayerNorm;
  readonly convIn: Conv2d;

  constructor() {
    super();
    this.toOut = [new Linear(64, 8), null];
    this.norm1 = new LayerNorm(8);
    this.convIn = new Conv2d(2, 4, { kernelSize: 3 });
  }
}

class Model extends Module {
  readonly attnBlocks: readonly Block[] = [new Block(), new Block()];
  readonly embedTokens = new Embedding(6, 64);
  readonly odd = new Linear(10, 3);
}

describe("memory on the CPU", () => {
  /** How much the process grows at most, in MiB, while `code` computes what it returns. */
  const growth = (prepare: string, code: string): number =>
    Number(
      program(`
        import { readFileSync, writeFileSync } from "node:fs";
        import * as nn from ${JSON.stringify(new URL("../src/nn/index.js", import.meta.url).href)};
        const most = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
        ${prepare}
        mx.memory.clearCache();
        writeFileSync("/proc/self/clear_refs", "5");
        const before = most();
        mx.evaluateSync(mx.scope(() => ${code}));
        console.log(most() - before);`),
    );
  const onLinuxCpu = { skip: onCpu.skip || process.platform !== "linux" };

  it("attention holds the scores of one part", onLinuxCpu, () => {
    const grown = growth(
      "const q = mx.random.normal([1, 24, 2048, 8]); mx.evaluateSync(q);",
      "nn.attention(q, q, q, { scale: 1 })",
    );
    assert.ok(grown < 120, `${grown} MiB, where all scores have 384`);
  });

  it("Conv2d holds the patches of one band", onLinuxCpu, () => {
    const grown = growth(
      `const x = mx.random.normal([1, 1024, 128, 64]); mx.evaluateSync(x);
       const conv = new nn.Conv2d(64, 4, { kernelSize: 3, padding: 1 });`,
      "conv.forward(x)",
    );
    assert.ok(grown < 120, `${grown} MiB, where all patches have 288`);
  });

  it("quantized Linear holds one dense panel", onLinuxCpu, () => {
    const grown = growth(
      `const linear = new nn.Linear(1024, 98304, { bias: false });
       await linear.load([["weight", mx.full([98304, 1024], 0.5)]], { quantization: { bits: 4 } });
       const x = mx.random.normal([32, 1024]); mx.evaluateSync(x);`,
      "linear.forward(x)",
    );
    assert.ok(grown < 120, `${grown} MiB, where the dense matrix has 384`);
  });
});

describe("Module", () => {
  /** Tensors that fit Model, under the names of a file. */
  const checkpoint = (dtype: DType = "float32"): Map<string, MxArray> => {
    const shapes: [string, number[]][] = [0, 1].flatMap((i): [string, number[]][] => [
      [`attn_blocks.${i}.to_out.0.weight`, [8, 64]],
      [`attn_blocks.${i}.to_out.0.bias`, [8]],
      [`attn_blocks.${i}.norm1.weight`, [8]],
      [`attn_blocks.${i}.norm1.bias`, [8]],
      [`attn_blocks.${i}.conv_in.weight`, [4, 2, 3, 3]],
      [`attn_blocks.${i}.conv_in.bias`, [4]],
    ]);
    shapes.push(["embed_tokens.weight", [6, 64]], ["odd.weight", [3, 10]], ["odd.bias", [3]]);
    return scope(
      () => new Map(shapes.map(([name, shape], i) => [name, astype(normal(shape, 50 + i), dtype)])),
    );
  };

  const loadFailure = async (tensors: Iterable<readonly [string, MxArray]>): Promise<LoadError> => {
    try {
      await new Model().load(tensors);
    } catch (error) {
      assert.ok(error instanceof LoadError);
      return error;
    }
    return assert.fail("loading must fail");
  };

  it("maps keys of files to property paths", () => {
    assert.equal(
      propertyPath("transformer_blocks.0.attn.to_out.0.weight"),
      "transformerBlocks.0.attn.toOut.0.weight",
    );
    assert.equal(propertyPath("time_text_embed.linear_1.bias"), "timeTextEmbed.linear1.bias");
    assert.equal(propertyPath("layer.0.SelfAttention.q.weight"), "layer.0.SelfAttention.q.weight");
  });

  it("loads a checkpoint: every parameter, in the layers' own layout", async () => {
    const model = new Model();
    const tensors = checkpoint();
    const convolution = tensors.get("attn_blocks.1.conv_in.weight")!;
    const expected = new Map([
      ["attnBlocks.0.toOut.0.weight", values(tensors.get("attn_blocks.0.to_out.0.weight")!)],
      ["embedTokens.weight", values(tensors.get("embed_tokens.weight")!)],
      ["attnBlocks.1.convIn.weight", values(transpose(convolution, [0, 2, 3, 1]))],
    ]);
    await model.load(tensors);
    const parameters = model.parameters();
    assert.equal(parameters.size, tensors.size);
    for (const [path, value] of expected) assert.deepEqual(values(parameters.get(path)!), value);
    assert.ok(convolution.disposed, "a source that was converted is released");
  });

  it("casts floating tensors", async () => {
    const model = new Model();
    await model.load(checkpoint("bfloat16"), { dtype: "float32" });
    for (const [path, { dtype }] of model.parameters()) assert.equal(dtype, "float32", path);
    const kept = new Model();
    await kept.load(checkpoint("float16"));
    assert.equal(kept.odd.weight.dtype, "float16");
  });

  it("names what is missing", async () => {
    const tensors = checkpoint();
    tensors.delete("attn_blocks.1.to_out.0.bias");
    const { missing, unexpected, misshapen, message } = await loadFailure(tensors);
    assert.deepEqual([missing, unexpected, misshapen], [["attnBlocks.1.toOut.0.bias"], [], []]);
    assert.match(message, /1 missing \(attnBlocks\.1\.toOut\.0\.bias\)/);
  });

  it("names what is unexpected, except what is ignored", async () => {
    const extra = (): [string, MxArray][] => [
      ["attn_blocks.2.norm1.weight", zeros([8])],
      ["position_ids", zeros([3])],
      ["odd.scales", zeros([3])],
    ];
    const { unexpected } = await loadFailure([...checkpoint(), ...extra()]);
    assert.deepEqual(unexpected, ["attn_blocks.2.norm1.weight", "position_ids", "odd.scales"]);
    const spare = zeros([3]);
    await new Model().load([...checkpoint(), ["position_ids", spare]], {
      ignore: (key) => key === "position_ids",
    });
    assert.ok(spare.disposed);
  });

  it("names a parameter that comes twice", async () => {
    const { unexpected } = await loadFailure([...checkpoint(), ["attnBlocks.0.norm1.weight", zeros([8])]]);
    assert.deepEqual(unexpected, ["attnBlocks.0.norm1.weight"]);
  });

  it("names what has another shape or dtype", async () => {
    const tensors = checkpoint();
    tensors.set("attn_blocks.0.conv_in.weight", zeros([4, 3, 3, 2]));
    tensors.set("odd.weight", zeros([3, 10], "int32"));
    tensors.set("odd.bias", zeros([3, 1]));
    assert.deepEqual((await loadFailure(tensors)).misshapen, [
      {
        name: "attn_blocks.0.conv_in.weight",
        expected: "floating [4, 2, 3, 3]",
        found: "float32 [4, 3, 3, 2]",
      },
      { name: "odd.weight", expected: "floating [3, 10]", found: "int32 [3, 10]" },
      { name: "odd.bias", expected: "floating [3]", found: "float32 [3, 1]" },
    ]);
  });

  it("a long list is cut in the message, not in the error", async () => {
    const { missing, message } = await loadFailure([]);
    assert.equal(missing.length, 15);
    assert.match(message, /15 missing \(.*, and 10 more\)/);
  });

  it("reads nothing before names and shapes are checked, and releases everything on failure", async () => {
    const tensors = checkpoint();
    // 2 MiB that are made only when evaluated.
    tensors.set("embed_tokens.weight", full([8192, 64], 1));
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    const model = new Model();
    await assert.rejects(model.load(tensors), LoadError);
    assert.ok(memory.peakMemory() - before < MiB);
    assert.ok([...tensors.values(), ...model.parameters().values()].every((array) => array.disposed));
    assert.throws(() => model.odd.forward(ones([1, 10])), /disposed/);
  });

  it("releases everything when a tensor cannot be read", async () => {
    const tensors = checkpoint();
    // Cut after its header was checked: reading the bytes fails.
    const file = join(temporaryFolder(), "cut.safetensors");
    await saveSafetensors(file, new Map([["odd", ones([3, 10])]]));
    const failing = loadSafetensors(file).arrays.get("odd")!;
    truncateSync(file, statSync(file).size - 40);
    tensors.set("odd.weight", failing);
    const model = new Model();
    const initial = [...model.parameters().values()];
    await assert.rejects(model.load(tensors), { name: "MlxError" });
    const all = [...tensors.values(), ...initial, ...model.parameters().values()];
    assert.ok(all.every((array) => array.disposed));
  });

  it("quantizes as it loads where the group size divides the width", async () => {
    const model = new Model();
    await model.load(checkpoint("bfloat16"), { dtype: "float32", quantization: { bits: 4 } });
    assert.deepEqual(model.embedTokens.quantization, { bits: 4, groupSize: 64 });
    assert.deepEqual(model.attnBlocks[0]!.toOut[0].quantization, { bits: 4, groupSize: 64 });
    assert.equal(model.odd.quantization, null);
    assert.equal(model.embedTokens.scales!.dtype, "float32");
    assert.equal(model.embedTokens.dtype, "float32");
  });

  it("quantizes in place what the predicate chooses", async () => {
    const model = new Model();
    await model.load(checkpoint());
    const old = model.embedTokens.weight;
    const expected = quantize(old, { bits: 6 });
    const asked: string[] = [];
    model.quantize({ bits: 6 }, (path) => {
      asked.push(path);
      return path === "embedTokens";
    });
    assert.deepEqual(asked, ["attnBlocks.0.toOut.0", "attnBlocks.1.toOut.0", "embedTokens"]);
    assert.equal(arrayEqual(model.embedTokens.weight, expected.weight).item(), true);
    assert.ok(old.disposed);
    assert.equal(model.attnBlocks[0]!.toOut[0].quantization, null);
    assert.ok(model.parameters().has("embedTokens.scales"));
  });

  it("takes matrices that come quantized; bits and group size follow from the shapes", async () => {
    for (const [bits, groupSize] of [
      [3, 64],
      [8, 32],
    ] as [Bits, number][]) {
      const tensors = checkpoint("bfloat16");
      const q = quantize(tensors.get("embed_tokens.weight")!, { bits, groupSize });
      for (const [name, part] of Object.entries(q)) tensors.set(`embed_tokens.${name}`, part as MxArray);
      const scales = astype(q.scales, "float32");
      const biases = astype(q.biases, "float32");
      const dense = dequantize({ weight: q.weight, scales, biases }, { bits, groupSize });
      evaluateSync(dense);
      const model = new Model();
      await model.load(tensors, { dtype: "float32", quantization: { bits: 4 } });
      assert.deepEqual(model.embedTokens.quantization, { bits, groupSize });
      const ids = array([0, 1, 2, 3, 4, 5], { dtype: "int32" });
      assert.equal(arrayEqual(model.embedTokens.forward(ids), dense).item(), true);
    }
  });

  it("refuses quantized matrices of sizes that do not fit", async () => {
    const tensors = checkpoint();
    const q = quantize(normal([6, 96], 60), { bits: 4, groupSize: 32 });
    for (const [name, part] of Object.entries(q)) tensors.set(`embed_tokens.${name}`, part as MxArray);
    const { misshapen } = await loadFailure(tensors);
    assert.equal(misshapen[0]!.name, "embed_tokens.weight");
    assert.equal(misshapen[0]!.found, "uint32 [6, 12]");
  });

  it("loading quantized needs little more than the quantized size", async () => {
    class Stack extends Module {
      readonly layers = Array.from({ length: 8 }, () => new Linear(2048, 2048, { bias: false }));
    }
    // 16 MiB each, made when evaluated.
    const tensors = Array.from({ length: 8 }, (_, i): [string, MxArray] => [
      `layers.${i}.weight`,
      full([2048, 2048], i, "float32"),
    ]);
    memory.clearCache();
    memory.resetPeakMemory();
    const before = memory.activeMemory();
    using model = new Stack();
    await model.load(tensors, { quantization: { bits: 4 } });
    const held = memory.activeMemory() - before;
    const peak = memory.peakMemory() - before;
    assert.ok(held < 22 * MiB, `${held / MiB} MiB held`);
    assert.ok(peak < 60 * MiB, `${peak / MiB} MiB at most, where the dense matrices have 128`);
  });

  it("dispose releases all memory", async () => {
    memory.clearCache();
    const before = memory.activeMemory();
    const handles = memory.liveHandles();
    const model = new Model();
    await model.load(checkpoint(), { quantization: { bits: 8 } });
    model.dispose();
    // The garbage collector may have taken others meanwhile.
    assert.ok(memory.liveHandles() <= handles);
    assert.ok(memory.activeMemory() <= before);
  });

  it("randomize draws the same for the same key", () => {
    const [a, b, c] = [1, 1, 2].map((seed) => {
      const model = new Model();
      randomize(model, random.key(seed), 0.5);
      return values(model.attnBlocks[1]!.toOut[0].weight);
    });
    assert.deepEqual(a, b);
    assert.notDeepEqual(a, c);
    const norm = new LayerNorm(10000);
    randomize(norm, random.key(3), 0.1);
    const mean = values(norm.weight!).reduce((sum, v) => sum + v, 0) / 10000;
    assert.ok(Math.abs(mean - 1) < 0.01);
  });
});

describe("stages", () => {
  function* doubled(times: number, start: MxArray, left: string[]): Stages {
    let x = multiply(start, 1);
    try {
      for (let i = 0; i < times; i++) {
        const current = x;
        x = scope(() => multiply(current, 2));
        current.dispose();
        yield [x];
      }
      left.push("end");
      return multiply(x, 1);
    } finally {
      x.dispose();
    }
  }

  it("give the same at once and in parts", async () => {
    const start = array([1, 3]);
    assert.deepEqual([...values(lazily(doubled(5, start, [])))], [32, 96]);
    for (const every of [1, 2, 7])
      assert.deepEqual([...values(await runStages(doubled(5, start, []), { every }))], [32, 96]);
  });

  it("a cancel ends them between parts and releases what they hold", async () => {
    const start = array([1]);
    const handles = memory.liveHandles();
    const abort = new AbortController();
    const left: string[] = [];
    const parts = (function* (): Stages {
      let parts = 0;
      const inner = doubled(100, start, left);
      try {
        for (;;) {
          const step = inner.next();
          if (step.done) return step.value;
          if (++parts === 3) abort.abort(new Error("enough"));
          yield step.value;
        }
      } finally {
        inner.return(start);
      }
    })();
    await assert.rejects(runStages(parts, { signal: abort.signal }), /enough/);
    assert.deepEqual(left, []);
    assert.ok(memory.liveHandles() <= handles);
  });
});

it("a Linear layer takes its input in parts as it takes the whole", () => {
  // The last parts do not divide into groups.
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
