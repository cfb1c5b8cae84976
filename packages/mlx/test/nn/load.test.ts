import assert from "node:assert/strict";
import { statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  array,
  arrayEqual,
  astype,
  type Bits,
  dequantize,
  evaluateSync,
  full,
  loadSafetensors,
  type MxArray,
  memory,
  ones,
  quantize,
  saveSafetensors,
  transpose,
  zeros,
} from "../../src/index.js";
import { Linear, LoadError, Module } from "../../src/nn/index.js";
import { checkpoint, Model } from "../support/model.js";
import { MiB, normal, values } from "../support/numbers.js";
import { temporaryFolder } from "../support/process.js";

/** Loads tensors that do not fit and returns the error. */
const loadFailure = async (tensors: Iterable<readonly [string, MxArray]>): Promise<LoadError> => {
  try {
    await new Model().load(tensors);
  } catch (error) {
    assert.ok(error instanceof LoadError);
    return error;
  }
  return assert.fail("loading must fail");
};

describe("Module.load", () => {
  it("loads every parameter of a checkpoint, in the layout of its layer", async () => {
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
    assert.ok(convolution.disposed, "a converted source is released");
  });

  it("casts floating tensors", async () => {
    const model = new Model();
    await model.load(checkpoint("bfloat16"), { dtype: "float32" });
    for (const [path, { dtype }] of model.parameters()) assert.equal(dtype, "float32", path);
    const kept = new Model();
    await kept.load(checkpoint("float16"));
    assert.equal(kept.odd.weight.dtype, "float16");
  });

  it("lists missing parameters", async () => {
    const tensors = checkpoint();
    tensors.delete("attn_blocks.1.to_out.0.bias");
    const { missing, unexpected, misshapen, message } = await loadFailure(tensors);
    assert.deepEqual([missing, unexpected, misshapen], [["attnBlocks.1.toOut.0.bias"], [], []]);
    assert.match(message, /1 missing \(attnBlocks\.1\.toOut\.0\.bias\)/);
  });

  it("lists unexpected tensors", async () => {
    const extra = (): [string, MxArray][] => [
      ["attn_blocks.2.norm1.weight", zeros([8])],
      ["position_ids", zeros([3])],
      ["odd.scales", zeros([3])],
    ];
    const { unexpected } = await loadFailure([...checkpoint(), ...extra()]);
    assert.deepEqual(unexpected, ["attn_blocks.2.norm1.weight", "position_ids", "odd.scales"]);
  });

  it("skips and disposes ignored tensors", async () => {
    const spare = zeros([3]);
    await new Model().load([...checkpoint(), ["position_ids", spare]], {
      ignore: (key) => key === "position_ids",
    });
    assert.ok(spare.disposed);
  });

  it("lists a second tensor for a parameter as unexpected", async () => {
    const { unexpected } = await loadFailure([...checkpoint(), ["attnBlocks.0.norm1.weight", zeros([8])]]);
    assert.deepEqual(unexpected, ["attnBlocks.0.norm1.weight"]);
  });

  it("lists tensors of a wrong shape or dtype", async () => {
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

  it("shortens long lists in the message only", async () => {
    const { missing, message } = await loadFailure([]);
    assert.equal(missing.length, 15);
    assert.match(message, /15 missing \(.*, and 10 more\)/);
  });

  it("checks names and shapes before it reads, and releases everything on failure", async () => {
    const tensors = checkpoint();
    // 2 MiB, allocated when evaluated.
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
    // Truncate the file after the check of its header, so that reading fails.
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

  it("quantizes while loading where the group size divides the width", async () => {
    const model = new Model();
    await model.load(checkpoint("bfloat16"), { dtype: "float32", quantization: { bits: 4 } });
    assert.deepEqual(model.embedTokens.quantization, { bits: 4, groupSize: 64 });
    assert.deepEqual(model.attnBlocks[0]!.toOut[0].quantization, { bits: 4, groupSize: 64 });
    assert.equal(model.odd.quantization, null);
    assert.equal(model.embedTokens.scales!.dtype, "float32");
    assert.equal(model.embedTokens.dtype, "float32");
  });
  it("loads quantized matrices, with bits and group size inferred from the shapes", async () => {
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

  it("rejects quantized matrices of wrong sizes", async () => {
    const tensors = checkpoint();
    const q = quantize(normal([6, 96], 60), { bits: 4, groupSize: 32 });
    for (const [name, part] of Object.entries(q)) tensors.set(`embed_tokens.${name}`, part as MxArray);
    const { misshapen } = await loadFailure(tensors);
    assert.equal(misshapen[0]!.name, "embed_tokens.weight");
    assert.equal(misshapen[0]!.found, "uint32 [6, 12]");
  });

  it("needs little more memory than the quantized size", async () => {
    class Stack extends Module {
      readonly layers = Array.from({ length: 8 }, () => new Linear(2048, 2048, { bias: false }));
    }
    // 16 MiB each, allocated when evaluated.
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
    assert.ok(peak < 60 * MiB, `${peak / MiB} MiB at peak; the dense matrices take 128`);
  });
});
