import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  add,
  array,
  arrayEqual,
  astype,
  dequantize,
  evaluateSync,
  type MxArray,
  matmul,
  multiply,
  quantize,
  random,
  scope,
  slice,
  transpose,
} from "../../src/index.js";
import { Embedding, Linear, multipliesStored, randomize } from "../../src/nn/index.js";
import { golden } from "../support/golden.js";
import { assertClose, normal, onCpu, values } from "../support/numbers.js";

describe("Linear", () => {
  it("keeps 16-bit matrices as stored and gives the result of the float32 matrix, like Embedding", {
    skip: multipliesStored() ? false : "only a Linux CPU multiplies matrices as stored",
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

  it("casts again when a matrix is loaded over one kept as stored", async () => {
    const linear = new Linear(64, 8, { bias: false });
    const weight = (): [string, MxArray] => ["weight", astype(normal([8, 64], 53), "bfloat16")];
    await linear.load([weight()], { dtype: "float32", matrices: "stored" });
    assert.deepEqual([linear.dtype, linear.weight.dtype], ["float32", "bfloat16"]);
    await linear.load([weight()], { dtype: "float32" });
    assert.deepEqual([linear.dtype, linear.weight.dtype], ["float32", "float32"]);
    await linear.load([weight()]);
    assert.equal(linear.dtype, "bfloat16");
  });
  it("computes x Wᵀ + b", async () => {
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
  });

  it("can have no bias", () => {
    assert.deepEqual([...new Linear(5, 3, { bias: false }).parameters().keys()], ["weight"]);
  });

  for (const dtype of ["f32", "bf16"] as const)
    for (const bits of [3, 4, 5, 6, 8] as const) {
      it(`quantized to ${bits} bits equals MLX in Python, ${dtype}`, async () => {
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

  it("quantized equals dequantize and matmul for any number of rows", () => {
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

  it("quantized computes a large matrix in panels", onCpu, async () => {
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
});
