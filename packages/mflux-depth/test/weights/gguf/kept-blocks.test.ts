import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { astype, type Bits, dequantize, type MxArray } from "@mflux-depth/mlx";
import { blockUseOf, openGguf } from "../../../src/weights/gguf/checkpoint.js";
import { folderPerTest } from "../../support/folders.js";
import { ggufHeader } from "../../support/gguf.js";
import { oneFile } from "../../support/one-file.js";
import { relativeError, values } from "../../support/tensors.js";

const folder = folderPerTest("mflux-depth-blocks");

type Tensors = ReadonlyMap<string, MxArray> & { readonly file: string };

const tensorsOf = (file: string, blockBits: Bits | null): Tensors =>
  Object.assign(new Map(openGguf(oneFile(file), { blockBits }).tensors()), { file });

/** The names of the matrices that are quantized. */
const keptIn = (tensors: Tensors): string[] =>
  [...tensors.keys()].filter(
    (name) => tensors.has(name.replace(/weight$/, "scales")) && /weight$/.test(name),
  );

/** The values of a quantized matrix. */
function valuesOf(tensors: Tensors, name: string): Float32Array {
  const factor = (kind: string): MxArray => astype(tensors.get(name.replace(/weight$/, kind))!, "float32");
  const [weight, scales, biases] = [tensors.get(name)!, factor("scales"), factor("biases")];
  const columns = openGguf(oneFile(tensors.file)).entries.get(name)!.shape[1]!;
  const groupSize = columns / scales.shape[1]!;
  const bits = ((weight.shape[1]! * 32) / columns) as Bits;
  return values(dequantize({ weight, scales, biases }, { bits, groupSize }));
}

describe("kept blocks have the values of the file, to the bit", () => {
  for (const [file, bits] of [
    ["q4_0.gguf", 4],
    ["q4_1.gguf", 4],
    ["q5_0.gguf", 5],
    ["q5_1.gguf", 5],
    ["q8_0.gguf", 8],
    ["t5.gguf", 8],
  ] as const)
    test(file, () => {
      const [kept, plain] = [tensorsOf(file, bits), tensorsOf(file, null)];
      const names = keptIn(kept);
      assert.ok(names.length > 0);
      for (const name of names) {
        const expected = values(plain.get(name)!);
        // Zeros may have another sign.
        const differing = valuesOf(kept, name).findIndex((value, i) => value !== expected[i]);
        assert.equal(differing, -1, name);
      }
    });
});

test("Q4_K and Q5_K are kept with scales rounded to float16", () => {
  const [kept, plain] = [tensorsOf("k-types.gguf", 8), tensorsOf("k-types.gguf", null)];
  assert.deepEqual(blockUseOf(oneFile("k-types.gguf"), 8).kept, ["Q4_K", "Q5_K", "Q8_0"]);
  const { entries } = openGguf(oneFile("k-types.gguf"));
  const names = keptIn(kept).filter((name) => /^Q[45]_K$/.test(entries.get(name)!.dtype));
  assert.ok(names.length > 1);
  for (const name of names) {
    const [found, expected] = [valuesOf(kept, name), values(plain.get(name)!)];
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    for (const [i, value] of found.entries())
      assert.ok(Math.abs(value - expected[i]!) <= 2 ** -10 * largest, `${name}: ${value}, ${expected[i]}`);
  }
});

test("blocks that MLX cannot hold, and a file with more bits than asked for, are quantized", () => {
  const all = { kept: [], lost: ["Q8_0"], unfit: [], keptFrom: 8 };
  assert.deepEqual(blockUseOf(oneFile("q8_0.gguf"), 4), all);
  assert.deepEqual(blockUseOf(oneFile("k-types.gguf"), 8).unfit, ["Q2_K", "Q3_K", "Q6_K"]);
  const [quantized, plain] = [tensorsOf("q8_0.gguf", 6), tensorsOf("q8_0.gguf", null)];
  const names = keptIn(quantized);
  assert.ok(names.length > 0);
  for (const name of names) {
    const error = relativeError(valuesOf(quantized, name), values(plain.get(name)!));
    assert.ok(error > 1e-4 && error < 5e-2, `${name}: relative error ${error}`);
  }
});

test("matrices with more bits than most of the file are also kept", () => {
  const { entries } = openGguf(oneFile("q4_1.gguf"));
  assert.equal(entries.get("img_in.weight")!.dtype, "Q8_0");
  const { kept, lost } = blockUseOf(oneFile("q4_1.gguf"), 4);
  assert.deepEqual([kept, lost], [["Q4_1", "Q8_0"], []]);
});

test("matrices that the file has as floating-point numbers stay so", () => {
  const { entries } = openGguf(oneFile("q8_0.gguf"));
  const floats = [...entries].filter(([, { dtype }]) => ["F32", "F16", "BF16"].includes(dtype));
  const tensors = tensorsOf("q8_0.gguf", 4);
  assert.ok(floats.some(([name, { shape }]) => shape.length === 2 && name.endsWith(".weight")));
  for (const [name] of floats) assert.match(tensors.get(name)!.dtype, /float/);
});

test("blocks that do not end with the rows of their original shape become values", () => {
  const path = ggufHeader(folder(), 1, 1)
    .text("comfy.gguf.orig_shape.a.weight")
    .u32(9)
    .u32(5)
    .u64(2)
    .u32(4)
    .u32(48)
    .tensor("a.weight", [192], 8, 0)
    .data(6 * 34)
    .write();
  const [[name, tensor] = assert.fail()] = openGguf(path, { blockBits: 8 }).tensors();
  assert.deepEqual([name, tensor.dtype, tensor.shape], ["a.weight", "float32", [4, 48]]);
});
