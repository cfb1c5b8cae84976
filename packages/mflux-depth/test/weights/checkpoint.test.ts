import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { array, type MxArray, memory, saveSafetensors, toFp8 } from "@mflux-depth/mlx";
import { Linear, Module } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import { readConfig } from "../../src/files/json.js";
import { hubCache, requireFluxDepth, resolveRepository } from "../../src/hub/repository.js";
import { loadWeights, openCheckpoint } from "../../src/weights/checkpoint.js";

const root = mkdtempSync(join(tmpdir(), "checkpoint-"));
after(() => rmSync(root, { recursive: true }));

let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, `${count++}`);
  mkdirSync(folder);
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

const writeJson = (name: string, value: unknown): void =>
  writeFileSync(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));

/** The names and first values of what a folder holds. */
function contents(variant?: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, tensor] of openCheckpoint(folder, { variant }).tensors()) {
    found[name] = Number(tensor.toTypedArray()[0]);
    tensor.dispose();
  }
  return found;
}

/** Asserts a ModelError about `source` whose message matches, and that nothing stays in memory. */
function refused(action: () => unknown, source: string, message: RegExp): void {
  const before = held();
  assert.throws(action, refusal(source, message));
  assert.deepEqual(held(), before);
}

async function refusedLater(action: () => Promise<unknown>, source: string, message: RegExp): Promise<void> {
  const before = held();
  await assert.rejects(action, refusal(source, message));
  assert.deepEqual(held(), before);
}

const held = (): object => [memory.activeMemory(), memory.liveHandles()];

const refusal = (source: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ModelError, String(error));
  assert.equal(error.source, source);
  assert.match(error.message, message);
  return true;
};

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
    await refusedLater(load, path, /"(extra|more)" is no part of this model \(as 1 more is\)/);
    await refusedLater(
      () => load((name) => (name === "more" ? null : name && name)),
      path,
      /"extra" is no part of this model$/,
    );
  });
});

describe("readConfig", () => {
  test("reads an object and says what is wrong with others", () => {
    writeJson("config.json", { a: 1 });
    assert.deepEqual(readConfig(folder, "config.json"), { a: 1 });
    for (const [text, message] of [
      ["{", /not valid JSON/],
      ["", /not valid JSON/],
      ["[1]", /expected a JSON object/],
    ] as const) {
      writeJson("config.json", text);
      refused(() => readConfig(folder, "config.json"), join(folder, "config.json"), message);
    }
    refused(() => readConfig(folder, "other.json"), join(folder, "other.json"), /this file is missing/);
    mkdirSync(join(folder, "folder.json"));
    refused(() => readConfig(folder, "folder.json"), join(folder, "folder.json"), /cannot be read/);
  });
});

describe("resolveRepository", () => {
  const env = (): NodeJS.ProcessEnv => ({ HF_HUB_CACHE: folder });
  const snapshot = (commit: string): string => {
    const path = join(folder, "models--owner--name", "snapshots", commit);
    mkdirSync(path, { recursive: true });
    return path;
  };

  test("finds the bundled checkpoint and folders", () => {
    const bundled = resolveRepository("tiny-world");
    requireFluxDepth(bundled.folder);
    assert.equal(bundled.revision, undefined);
    assert.equal(resolveRepository(folder).folder, folder);
  });

  test("finds a repository in the cache by reference, commit, or without reference", () => {
    snapshot("aaaa");
    snapshot("bbbb");
    const refs = join(folder, "models--owner--name", "refs");
    mkdirSync(join(refs, "pr"), { recursive: true });
    writeFileSync(join(refs, "main"), "aaaa\n");
    writeFileSync(join(refs, "pr", "1"), "bbbb");
    assert.equal(resolveRepository("owner/name", { env: env() }).revision, "aaaa");
    assert.equal(resolveRepository("owner/name", { env: env() }).folder, snapshot("aaaa"));
    assert.equal(resolveRepository("owner/name", { env: env(), revision: "bbbb" }).revision, "bbbb");
    assert.equal(resolveRepository("owner/name", { env: env(), revision: "pr/1" }).revision, "bbbb");
    rmSync(refs, { recursive: true });
    utimesSync(snapshot("aaaa"), 1000, 1000);
    utimesSync(snapshot("bbbb"), 2000, 2000);
    assert.equal(resolveRepository("owner/name", { env: env() }).revision, "bbbb");
    // The second is a folder, but above the snapshots.
    for (const revision of ["v2", ".."])
      refused(
        () => resolveRepository("owner/name", { env: env(), revision }),
        "owner/name",
        new RegExp(`revision ${revision.replaceAll(".", "[.]")}`),
      );
  });

  test("knows the places of the cache in their order", () => {
    for (const [variables, cache] of [
      [{ HF_HUB_CACHE: folder, HF_HOME: "/none" }, folder],
      [{ HF_HOME: folder, XDG_CACHE_HOME: "/none" }, join(folder, "hub")],
      [{ XDG_CACHE_HOME: folder }, join(folder, "huggingface", "hub")],
      [{}, join(homedir(), ".cache", "huggingface", "hub")],
    ] as const)
      assert.equal(hubCache(variables), cache);
  });

  test("says how to get what is not there", () => {
    refused(
      () => resolveRepository("owner/name", { env: env() }),
      "owner/name",
      /download it, or use the bundled model, tiny-world/,
    );
    refused(() => resolveRepository("./none", { env: env() }), "./none", /no such folder.*tiny-world/);
    refused(() => resolveRepository("tiny", { env: env() }), "tiny", /no such folder.*tiny-world/);
    refused(() => resolveRepository("../a/b", { env: env() }), "../a/b", /no such folder/);
  });
});

describe("requireFluxDepth", () => {
  const { folder: bundled } = resolveRepository("tiny-world");
  /** A copy of the bundled repository without its weights. */
  const copy = (): void => {
    cpSync(bundled, folder, {
      recursive: true,
      filter: (path) => !/\.safetensors$|depth_pro|tokenizer\.json$/.test(path),
    });
  };
  const changeTransformer = (changes: object): string => {
    const path = join("transformer", "config.json");
    writeJson(path, { ...readConfig(bundled, path), ...changes });
    return join(folder, path);
  };

  test("accepts FLUX.1 Depth, through links too", () => {
    copy();
    requireFluxDepth(folder);
    symlinkSync(folder, `${folder}-link`);
    requireFluxDepth(`${folder}-link`);
  });

  test("knows Canny by its model card, or the name of its folder", () => {
    copy();
    const card = join(folder, "README.md");
    writeFileSync(card, "# FLUX.1 Canny [dev]\n\nIts sister is FLUX.1 Depth.\n");
    refused(() => requireFluxDepth(folder), card, /FLUX\.1 Canny, which takes edges/);
    writeFileSync(card, "---\ntags: flux\n---\n`FLUX.1 Depth [dev]`, unlike FLUX.1 Canny, takes depth.\n");
    requireFluxDepth(folder);
    const named = join(folder, "flux.1-canny-dev");
    symlinkSync(folder, named);
    refused(() => requireFluxDepth(named), named, /FLUX\.1 Canny/);
  });

  test("says which model it is instead", () => {
    copy();
    let path = changeTransformer({ in_channels: 64 });
    refused(() => requireFluxDepth(folder), path, /FLUX\.1 dev or schnell.*in_channels 128, not 64/);
    path = changeTransformer({ in_channels: 384 });
    refused(() => requireFluxDepth(folder), path, /FLUX\.1 Fill/);
    changeTransformer({ in_channels: 5 });
    refused(() => requireFluxDepth(folder), path, /in_channels is 5/);
    changeTransformer({ _class_name: "SD3Transformer2DModel" });
    refused(() => requireFluxDepth(folder), path, /SD3Transformer2DModel/);
    writeJson("model_index.json", { _class_name: "StableDiffusionPipeline" });
    refused(() => requireFluxDepth(folder), folder, /StableDiffusionPipeline, not for FLUX\.1/);
    refused(
      () => requireFluxDepth(join(bundled, "depth_pro")),
      join(bundled, "depth_pro"),
      /Depth Pro.*depthModel/,
    );
    refused(
      () => requireFluxDepth(join(bundled, "vae")),
      join(bundled, "vae"),
      /one component \(AutoencoderKL\)/,
    );
  });

  test("lists what is missing", () => {
    refused(
      () => requireFluxDepth(folder),
      folder,
      /expected model_index\.json and the folders scheduler, text_encoder/,
    );
    copy();
    rmSync(join(folder, "text_encoder_2"), { recursive: true });
    rmSync(join(folder, "vae"), { recursive: true });
    refused(() => requireFluxDepth(folder), folder, /text_encoder_2, vae is missing/);
  });
});
