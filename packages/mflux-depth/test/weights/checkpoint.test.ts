import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { array, type DType, memory, saveSafetensors, toFp8, zeros } from "@mflux-depth/mlx";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { checkScales } from "../../src/weights/mflux.js";
import { type FilledTensors, writeFilled } from "../support/checkpoints.js";
import { folderPerTest, writeJson as writeJsonTo } from "../support/folders.js";
import { refused } from "../support/refusals.js";

const current = folderPerTest("checkpoint");
let folder = "";
beforeEach(() => {
  folder = current();
});

const write = (name: string, tensors: FilledTensors): Promise<string> =>
  writeFilled(join(folder, name), tensors);
const writeJson = (name: string, value: unknown): void => writeJsonTo(join(folder, name), value);

/** The names and first values of a folder's tensors, in their order. */
function contents(variant?: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, tensor] of openCheckpoint(folder, { variant }).tensors()) {
    found[name] = Number(tensor.toTypedArray()[0]);
    tensor.dispose();
  }
  return found;
}

describe("openCheckpoint reads", () => {
  test("the only file of a folder, whatever its name", async () => {
    await write("weights.safetensors", { a: [[2], 1] });
    assert.deepEqual(contents(), { a: 1 });
  });

  test("the file with the name that diffusers gives, rather than another", async () => {
    await write("weights.safetensors", { a: [[2], 1] });
    await write("diffusion_pytorch_model.safetensors", { a: [[2], 2] });
    assert.deepEqual(contents(), { a: 2 });
  });

  test("headers: metadata, size, and the file of each tensor", async () => {
    await write("diffusion_pytorch_model.safetensors", { a: [[2], 2] });
    const { metadata, bytes, fileOf } = openCheckpoint(folder);
    assert.equal(metadata.get("format"), "pt");
    assert.equal(bytes, 8);
    assert.equal(basename(fileOf.get("a")!), "diffusion_pytorch_model.safetensors");
  });

  test("the plain weights or the variant, as requested", async () => {
    await write("model.safetensors", { a: [[2], 1] });
    await write("model.fp16.safetensors", { a: [[2], 2] });
    assert.deepEqual(contents(), { a: 1 });
    assert.deepEqual(contents("fp16"), { a: 2 });
  });

  test("shards by their index, tensors in the order of files and bytes", async () => {
    const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    await write(first, { b: [[2], 1], a: [[3], 2] });
    await write(second, { c: [[2], 3] });
    writeJson("model.safetensors.index.json", {
      metadata: { total_size: 28 },
      weight_map: { c: second, a: first, b: first },
    });
    assert.deepEqual(contents(), { a: 2, b: 1, c: 3 });
    assert.deepEqual(Object.keys(contents()).at(-1), "c");
    assert.equal(openCheckpoint(folder).metadata.get("total_size"), "28");
  });

  test("float8 as float32", () => {
    using whole = array([1, -2.5, 448]);
    using bits = toFp8(whole);
    const header = JSON.stringify({ a: { dtype: "F8_E4M3", shape: [3], data_offsets: [0, 3] } });
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(
      join(folder, "model.safetensors"),
      Buffer.concat([prefix, Buffer.from(header), bits.toTypedArray() as Uint8Array]),
    );
    for (const [, tensor] of openCheckpoint(folder).tensors()) {
      assert.deepEqual([...tensor.toTypedArray()], [1, -2.5, 448]);
      tensor.dispose();
    }
  });
});

describe("openCheckpoint refuses", () => {
  test("a missing folder", () =>
    refused(() => openCheckpoint(join(folder, "none")), join(folder, "none"), /no such folder/));

  test("a folder without weights", () =>
    refused(() => openCheckpoint(folder), folder, /contains no weights; expected diffusion_pytorch_model/));

  test("a pickle, by its name", () => {
    writeJson("pytorch_model.bin", "");
    refused(() => openCheckpoint(folder), folder, /pytorch_model\.bin is a pickle file.*safetensors/);
  });

  test("a missing variant, naming the files that are there", async () => {
    await write("model.safetensors", { a: [[2], 1] });
    await write("model.fp16.safetensors", { a: [[2], 2] });
    refused(
      () => contents("bf16"),
      folder,
      /expected .*model\.bf16\.safetensors.*found model\.fp16\.safetensors/,
    );
  });

  test("several files without an index", async () => {
    await write("a.safetensors", { a: [[2], 1] });
    await write("b.safetensors", { b: [[2], 1] });
    refused(() => openCheckpoint(folder), folder, /found a\.safetensors, b\.safetensors/);
  });

  test("a damaged file, by its name", () => {
    writeJson("model.safetensors", "");
    refused(() => openCheckpoint(folder), join(folder, "model.safetensors"), /too few/);
  });
});

describe("openCheckpoint refuses an index", () => {
  const index = "model.safetensors.index.json";
  const cases: [what: string, weightMap: unknown, source: string, message: RegExp][] = [
    [
      "that names a missing shard",
      { a: "one.safetensors", b: "two.safetensors" },
      "two.safetensors",
      /shard is missing/,
    ],
    [
      "that names a tensor its shard lacks",
      { a: "one.safetensors", b: "one.safetensors" },
      "one.safetensors",
      /"b" is missing/,
    ],
    ["with a file in the parent folder", { a: "../one.safetensors" }, index, /folder of the index/],
    ["with an absolute path", { a: "/etc/one.safetensors" }, index, /folder of the index/],
    ["with a backslash", { a: "..\\one.safetensors" }, index, /folder of the index/],
    ["with another kind of file", { a: "one.bin" }, index, /"one\.bin"; expected a safetensors file/],
    ["with a number for a file", { a: 1 }, index, /folder of the index/],
    ["with an empty weight_map", {}, index, /expected a weight_map/],
    ["without a weight_map", undefined, index, /expected a weight_map/],
  ];
  for (const [what, weightMap, source, message] of cases)
    test(what, async () => {
      await write("one.safetensors", { a: [[2], 1] });
      writeJson(index, { weight_map: weightMap });
      refused(() => openCheckpoint(folder), join(folder, source), message);
    });

  test("whose shards share a tensor", async () => {
    await write("one.safetensors", { a: [[2], 1] });
    await write("two.safetensors", { a: [[2], 1], b: [[2], 1] });
    writeJson(index, { weight_map: { a: "one.safetensors", b: "two.safetensors" } });
    refused(() => openCheckpoint(folder), join(folder, "two.safetensors"), /"a" is also in one\.safetensors/);
  });

  test("that is not JSON", async () => {
    await write("one.safetensors", { a: [[2], 1] });
    await write("two.safetensors", { b: [[2], 1] });
    writeJson(index, "{");
    refused(() => openCheckpoint(folder), join(folder, index), /not valid JSON/);
  });
});

test("the tensors of a checkpoint that were not yielded are freed", async () => {
  await write("model.safetensors", { a: [[2], 1], b: [[2], 2], c: [[2], 3] });
  const handles = memory.liveHandles();
  for (const [, tensor] of openCheckpoint(folder).tensors()) {
    tensor.dispose();
    break;
  }
  assert.equal(memory.liveHandles(), handles);
});

describe("checkScales", () => {
  /** Writes a quantized matrix whose scales and biases have these dtypes; returns the file. */
  async function quantized(scales: DType, biases: DType): Promise<string> {
    const path = join(folder, "model.safetensors");
    using weight = zeros([4, 8], "uint32");
    using ofScales = zeros([4, 1], scales);
    using ofBiases = zeros([4, 1], biases);
    const arrays = new Map([
      ["x.weight", weight],
      ["x.scales", ofScales],
      ["x.biases", ofBiases],
    ]);
    await saveSafetensors(path, arrays);
    return path;
  }

  test("accepts scales and biases of one number format", async () => {
    await quantized("bfloat16", "bfloat16");
    checkScales(openCheckpoint(folder));
  });

  test("refuses scales and biases of two, naming the file", async () => {
    const file = await quantized("float16", "bfloat16");
    refused(
      () => checkScales(openCheckpoint(folder)),
      file,
      /"x\.scales" is F16, but "x\.biases" is BF16; expected one number format/,
    );
  });
});
