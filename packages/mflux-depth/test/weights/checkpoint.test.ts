import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { beforeEach, describe, test } from "node:test";
import { array, type MxArray, memory, saveSafetensors, toFp8 } from "@mflux-depth/mlx";
import { Linear, Module } from "@mflux-depth/mlx/nn";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { loadWeights } from "../../src/weights/load.js";
import { folderPerTest, writeJson as writeFile } from "../support/folders.js";
import { refused, refusedLater } from "../support/refusals.js";

const current = folderPerTest("checkpoint");
let folder = "";
beforeEach(() => {
  folder = current();
});

/** Writes a safetensors file of float32 tensors filled with one value each; returns its path. */
async function write(
  name: string,
  tensors: Record<string, [shape: number[], value: number]>,
): Promise<string> {
  const path = join(folder, name);
  const arrays = new Map<string, MxArray>();
  for (const [key, [shape, value]] of Object.entries(tensors)) {
    const size = shape.reduce((product, n) => product * n, 1);
    arrays.set(key, array(new Float32Array(size).fill(value), { shape }));
  }
  await saveSafetensors(path, arrays, new Map([["format", "pt"]]));
  for (const one of arrays.values()) one.dispose();
  return path;
}

const writeJson = (name: string, value: unknown): void => writeFile(join(folder, name), value);

/** The names and first values of what a folder holds. */
function contents(variant?: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, tensor] of openCheckpoint(folder, { variant }).tensors()) {
    found[name] = Number(tensor.toTypedArray()[0]);
    tensor.dispose();
  }
  return found;
}

describe("openCheckpoint", () => {
  test("reads a single file, by either library's name, or the only one", async () => {
    await write("weights.safetensors", { a: [[2], 1] });
    assert.deepEqual(contents(), { a: 1 });
    await write("diffusion_pytorch_model.safetensors", { a: [[2], 2] });
    assert.deepEqual(contents(), { a: 2 });
    const { metadata, bytes, fileOf } = openCheckpoint(folder);
    assert.equal(metadata.get("format"), "pt");
    assert.equal(bytes, 8);
    assert.equal(basename(fileOf.get("a")!), "diffusion_pytorch_model.safetensors");
  });

  test("reads the variant asked for, and no other", async () => {
    await write("model.safetensors", { a: [[2], 1] });
    await write("model.fp16.safetensors", { a: [[2], 2] });
    assert.deepEqual(contents(), { a: 1 });
    assert.deepEqual(contents("fp16"), { a: 2 });
    refused(
      () => contents("bf16"),
      folder,
      /expected .*model\.bf16\.safetensors.*found model\.fp16\.safetensors/,
    );
  });

  test("reads shards by their index, tensors in the order of files and bytes", async () => {
    await write("model-00001-of-00002.safetensors", { b: [[2], 1], a: [[3], 2] });
    await write("model-00002-of-00002.safetensors", { c: [[2], 3] });
    const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    writeJson("model.safetensors.index.json", {
      metadata: { total_size: 28 },
      weight_map: { c: second, a: first, b: first },
    });
    assert.deepEqual(contents(), { a: 2, b: 1, c: 3 });
    assert.deepEqual(Object.keys(contents()).at(-1), "c");
    assert.equal(openCheckpoint(folder).metadata.get("total_size"), "28");
  });

  test("reads float8 as numbers", () => {
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

  test("refuses folders without weights, and pickles by name", () => {
    refused(() => openCheckpoint(folder), folder, /there are no weights; expected diffusion_pytorch_model/);
    writeJson("pytorch_model.bin", "");
    refused(() => openCheckpoint(folder), folder, /pytorch_model\.bin is a pickle file.*safetensors/);
    refused(() => openCheckpoint(join(folder, "none")), join(folder, "none"), /no such folder/);
  });

  test("refuses several files without an index", async () => {
    await write("a.safetensors", { a: [[2], 1] });
    await write("b.safetensors", { b: [[2], 1] });
    refused(() => openCheckpoint(folder), folder, /found a\.safetensors, b\.safetensors/);
  });

  test("refuses an index that disagrees with the shards", async () => {
    const shard = await write("one.safetensors", { a: [[2], 1] });
    const index = join(folder, "model.safetensors.index.json");
    const cases: [weightMap: unknown, source: string, message: RegExp][] = [
      [{ a: "one.safetensors", b: "two.safetensors" }, join(folder, "two.safetensors"), /shard is missing/],
      [{ a: "one.safetensors", b: "one.safetensors" }, shard, /"b" is missing/],
      [{ a: "../one.safetensors" }, index, /beside the index/],
      [{ a: "/etc/one.safetensors" }, index, /beside the index/],
      [{ a: "..\\one.safetensors" }, index, /beside the index/],
      [{ a: "one.bin" }, index, /"one\.bin"; expected a safetensors file/],
      [{ a: 1 }, index, /beside the index/],
      [{}, index, /no weight_map/],
      [undefined, index, /no weight_map/],
    ];
    for (const [weightMap, source, message] of cases) {
      writeJson(basename(index), { weight_map: weightMap });
      refused(() => openCheckpoint(folder), source, message);
    }
    await write("two.safetensors", { a: [[2], 1], b: [[2], 1] });
    writeJson(basename(index), { weight_map: { a: "one.safetensors", b: "two.safetensors" } });
    refused(() => openCheckpoint(folder), join(folder, "two.safetensors"), /"a" is also in one\.safetensors/);
    writeJson(basename(index), "{");
    refused(() => openCheckpoint(folder), index, /not valid JSON/);
  });

  test("refuses a damaged file by its name", async () => {
    writeJson("model.safetensors", "");
    refused(() => openCheckpoint(folder), join(folder, "model.safetensors"), /too few/);
  });

  test("what is not taken from the iteration is freed", async () => {
    await write("model.safetensors", { a: [[2], 1], b: [[2], 2], c: [[2], 3] });
    const handles = memory.liveHandles();
    for (const [, tensor] of openCheckpoint(folder).tensors()) {
      tensor.dispose();
      break;
    }
    assert.equal(memory.liveHandles(), handles);
  });
});

class Pair extends Module {
  firstLayer = new Linear(4, 2);
  second = new Linear(2, 3, { bias: false });
}

describe("loadWeights", () => {
  const load = async (rename?: (name: string) => string | null): Promise<Pair> => {
    const pair = new Pair();
    await loadWeights(pair, openCheckpoint(folder), { dtype: "float16", ...(rename && { rename }) });
    return pair;
  };
  const sound: Record<string, [number[], number]> = {
    "first_layer.weight": [[2, 4], 1],
    "first_layer.bias": [[2], 2],
    "second.weight": [[3, 2], 3],
  };

  test("casts and fills the module, under the names that it has", async () => {
    await write("model.safetensors", { ...sound, position_ids: [[1], 0] });
    using pair = await load((name) => (name === "position_ids" ? null : name));
    assert.equal(pair.firstLayer.parameters().get("weight")?.dtype, "float16");
    assert.deepEqual(pair.parameters().get("second.weight")?.shape, [3, 2]);
  });

  test("names the file and the tensor that do not fit", async () => {
    const path = await write("model.safetensors", { ...sound, "second.weight": [[2, 3], 3] });
    await refusedLater(load, path, /"second\.weight" is .*\[2, 3\], not .*\[3, 2\]/);
    await refusedLater(
      () => load((name) => name.replace("second.", "other.")),
      path,
      /"second\.weight" is missing/,
    );
    await write("model.safetensors", { ...sound, extra: [[1], 0], more: [[1], 0] });
    await refusedLater(
      load,
      path,
      /"(extra|more)" does not belong to this model \(and 1 more has this problem\)/,
    );
    await refusedLater(
      () => load((name) => (name === "more" ? null : name && name)),
      path,
      /"extra" does not belong to this model$/,
    );
  });
});
