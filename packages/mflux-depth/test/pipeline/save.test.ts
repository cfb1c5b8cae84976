import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { array, loadSafetensors, type MxArray, memory, quantize, saveSafetensors } from "@mflux-depth/mlx";
import { type Module, propertyPath } from "@mflux-depth/mlx/nn";
import { ModelError, OptionError, OutputError } from "../../src/errors.js";
import { flux1Depth } from "../../src/families/flux1-depth/index.js";
import { openModelFiles } from "../../src/families/model-files.js";
import { readConfig } from "../../src/files/json.js";
import { FluxDepth, type GenerateOptions, type LoadOptions, saveModel } from "../../src/index.js";
import { Autoencoder, autoencoderConfig } from "../../src/models/autoencoder.js";
import { type Bits, resolveLoadOptions } from "../../src/options/index.js";
import { findModel, openModel } from "../../src/pipeline/model.js";
import { ClipTokenizer } from "../../src/tokenizers/clip.js";
import { T5Tokenizer } from "../../src/tokenizers/t5.js";
import { openCheckpoint } from "../../src/weights/checkpoint.js";
import { diffusersKey, mfluxKeys } from "../../src/weights/mflux.js";
import { intoShards, type NamedArray } from "../../src/weights/writer.js";
import { type Tensors, writeHoles } from "../support/holes.js";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const golden = path("../../../test/golden/mflux-saved");
const bundled = path("../../../models/tiny-world");
const depthDev = path("../../../models/flux1-depth-dev");
/** The folders that mflux wrote, whole; here are those parts of one that are small. */
const shared = path("../../../../../../shared/reference/mflux-saved");
const skip = !existsSync(shared) && "the whole reference folders are not here";

const scratch = mkdtempSync(join(tmpdir(), "saved-"));
after(() => rmSync(scratch, { recursive: true }));
let count = 0;
const fresh = (): string => join(scratch, `${count++}`);

/** The source of the golden parts made whole, with what is missing from the bundled model. */
const source = join(scratch, "source");
/** What mflux made of it at 4 bits; the VAE as we save it, since that one is the bundled model's. */
const q4 = join(scratch, "q4");
before(async () => {
  for (const part of ["vae", "tokenizer", "tokenizer_2", "scheduler", "model_index.json"])
    cpSync(join(bundled, part), join(source, part), { recursive: true });
  for (const part of ["transformer", "text_encoder", "text_encoder_2"]) {
    cpSync(join(golden, "source", part), join(source, part), { recursive: true });
    cpSync(join(golden, "q4", part), join(q4, part), { recursive: true });
  }
  for (const part of ["tokenizer", "tokenizer_2"])
    cpSync(join(golden, "q4", part), join(q4, part), { recursive: true });
  const saved = fresh();
  await saveModel({ model: source, quantize: 4, path: saved });
  cpSync(join(saved, "vae"), join(q4, "vae"), { recursive: true });
  rmSync(join(q4, "vae", "config.json"));
});

type PartName = "text_encoder" | "text_encoder_2" | "transformer" | "vae";
const partNames: readonly PartName[] = ["text_encoder", "text_encoder_2", "transformer", "vae"];

/** The bits of all parameters as they are held. */
async function parametersOf(options: LoadOptions, name: PartName): Promise<Map<string, string>> {
  const resolved = resolveLoadOptions(options);
  const { files } = await findModel(resolved);
  const part = openModel(files, resolved, "cpu").components[name];
  const module: Module = await part.get();
  const found = new Map<string, string>();
  for (const [key, value] of module.parameters()) found.set(key, bitsOf(value));
  part.free();
  return found;
}

function bitsOf(value: MxArray): string {
  const { buffer, byteOffset, byteLength } = value.toTypedArray();
  const hash = createHash("sha1")
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest("hex");
  return `${value.dtype} [${value.shape}] ${hash}`;
}

/** Everything a component's files say: tensors by name, metadata, the index. */
function contentsOf(folder: string): object {
  const checkpoint = openCheckpoint(folder);
  const tensors = new Map<string, string>();
  for (const [name, tensor] of checkpoint.tensors()) {
    tensors.set(name, bitsOf(tensor));
    tensor.dispose();
  }
  const [file] = checkpoint.files;
  return {
    names: [...tensors.keys()].sort(),
    tensors,
    inFile: loadSafetensorsMetadata(file!),
    index: readConfig(folder, "model.safetensors.index.json"),
  };
}

function loadSafetensorsMetadata(file: string): object {
  const { arrays, metadata } = loadSafetensors(file);
  for (const one of arrays.values()) one.dispose();
  return Object.fromEntries(metadata);
}

const request: GenerateOptions = {
  prompt: "a gold portrait, at sunset",
  depthImage: {
    data: Uint8Array.from({ length: 64 * 64 }, (_, i) => 4 * (i % 64)),
    width: 64,
    height: 64,
    channels: 1,
  },
  width: 64,
  height: 64,
  steps: 2,
  seed: 7,
};

async function refused(
  action: () => unknown,
  kind: typeof ModelError | typeof OutputError,
  message: RegExp,
): Promise<void> {
  const [active, handles] = [memory.activeMemory(), memory.liveHandles()];
  await assert.rejects(
    async () => action(),
    (error: unknown) => {
      assert.ok(error instanceof kind, String(error));
      assert.match(error.message, message);
      return true;
    },
  );
  assert.deepEqual([memory.activeMemory(), memory.liveHandles()], [active, handles]);
}

describe("folders saved by mflux", () => {
  test("load to what we make of their source at the same bits, bit by bit", async () => {
    for (const name of partNames.slice(0, 3))
      for (const dtype of ["bfloat16", "float32"] as const) {
        const theirs = await parametersOf({ model: q4, configFrom: source, quantize: "none", dtype }, name);
        const ours = await parametersOf({ model: source, quantize: 4, dtype }, name);
        assert.ok([...theirs.keys()].some((key) => key.endsWith(".scales")));
        assert.deepEqual(theirs, ours, `${name} in ${dtype}`);
      }
  });

  test("at 3, 4 and 8 bits, whole", { skip }, async () => {
    for (const bits of [3, 4, 8] as const)
      for (const name of partNames)
        assert.deepEqual(
          await parametersOf({ model: join(shared, `q${bits}`), configFrom: join(shared, "source") }, name),
          await parametersOf({ model: join(shared, "source"), quantize: bits }, name),
          `${name} at ${bits} bits`,
        );
  });

  test("run, and make the picture that their source makes; stored bits win, with a note", async () => {
    using theirs = await FluxDepth.load({ model: q4, configFrom: source, quantize: 8 });
    using ours = await FluxDepth.load({ model: source, quantize: 4 });
    const [a, b] = [await theirs.generate(request), await ours.generate(request)];
    assert.deepEqual(a.latents, b.latents);
    assert.deepEqual(a.image, b.image);
    const note = "quantize is 8, without effect: the weights are stored with 4 bits.";
    assert.deepEqual([theirs.notes, a.warnings], [[note], [note]]);
    assert.equal(a.metadata.quantize, 4);
    assert.deepEqual([ours.notes, b.warnings], [[], []]);
    using unasked = await FluxDepth.load({ model: q4, configFrom: source });
    assert.deepEqual(unasked.notes, []);
  });

  test("keep the bits of each layer, and what is not quantized", async () => {
    const folder = fresh();
    cpSync(q4, folder, { recursive: true });
    rmSync(join(folder, "text_encoder", "model.safetensors.index.json"));
    const file = join(folder, "text_encoder", "0.safetensors");
    const stored = loadSafetensors(file);
    const dense = loadSafetensors(join(source, "text_encoder", "model.safetensors")).arrays;
    const [table, positions] = ["token_embedding", "position_embedding"].map(
      (n) => `text_model.embeddings.${n}`,
    );
    const eight = quantize(dense.get(`${table}.weight`)!, { bits: 8 });
    for (const [name, part] of Object.entries(eight)) stored.arrays.set(`${table}.${name}`, part as MxArray);
    for (const name of ["scales", "biases"]) stored.arrays.delete(`${positions}.${name}`);
    stored.arrays.set(`${positions}.weight`, dense.get(`${positions}.weight`)!);
    await saveSafetensors(file, stored.arrays, stored.metadata);
    for (const one of [...stored.arrays.values(), ...dense.values()]) one.dispose();

    const options = { configFrom: source, dtype: "bfloat16", quantize: 4 } as const;
    const found = await parametersOf({ model: folder, ...options }, "text_encoder");
    const four = await parametersOf({ model: q4, ...options }, "text_encoder");
    const expected = new Map(four);
    const at = (bits: 8 | "none") =>
      parametersOf({ ...options, model: source, quantize: bits }, "text_encoder");
    for (const [key, value] of await at(8)) if (key.startsWith("embeddings.tokenE")) expected.set(key, value);
    for (const name of ["scales", "biases"]) expected.delete(`embeddings.positionEmbedding.${name}`);
    const whole = (await at("none")).get("embeddings.positionEmbedding.weight")!;
    expected.set("embeddings.positionEmbedding.weight", whole);
    assert.deepEqual(found, expected);
    assert.notDeepEqual(found, four);
  });

  test("in several files without an index, as older ones are, load too", async () => {
    const folder = fresh();
    cpSync(q4, folder, { recursive: true });
    const part = join(folder, "transformer");
    const { arrays, metadata } = loadSafetensors(join(part, "0.safetensors"));
    const halves = [new Map<string, MxArray>(), new Map<string, MxArray>()];
    for (const [i, [name, one]] of [...arrays].entries()) halves[i % 2]!.set(name, one);
    for (const [i, half] of halves.entries())
      await saveSafetensors(join(part, `${i}.safetensors`), half, metadata);
    for (const one of arrays.values()) one.dispose();
    rmSync(join(part, "model.safetensors.index.json"));
    const options = { configFrom: source };
    assert.deepEqual(
      await parametersOf({ model: folder, ...options }, "transformer"),
      await parametersOf({ model: q4, ...options }, "transformer"),
    );
    renameSync(join(part, "1.safetensors"), join(part, "2.safetensors"));
    await refused(() => openModelFiles(folder, source), ModelError, /found 0\.safetensors, 2\.safetensors/);
  });

  test("have tokenizers that give the source's tokens", async () => {
    for (const prompt of [request.prompt, "Crème brûlée, 42!", ""]) {
      const [a, b] = [join(q4, "tokenizer"), join(source, "tokenizer")];
      assert.deepEqual(
        (await ClipTokenizer.load(a)).encode(prompt),
        (await ClipTokenizer.load(b)).encode(prompt),
      );
      const [c, d] = [join(q4, "tokenizer_2"), join(source, "tokenizer_2")];
      assert.deepEqual(
        (await T5Tokenizer.load(c)).encode(prompt),
        (await T5Tokenizer.load(d)).encode(prompt),
      );
    }
  });

  test("name the VAE's tensors as we do, both ways", () => {
    const { weight_map: places } = readConfig(join(golden, "q4", "vae"), "model.safetensors.index.json");
    const names = Object.keys(places as object);
    const keys = names.map((name) => diffusersKey(name)!);
    assert.deepEqual(
      keys.map((key) => mfluxKeys("vae", key, 0)),
      names.map((name) => [name]),
    );
    using model = new Autoencoder(
      autoencoderConfig(readConfig(join(golden, "source", "vae"), "config.json")),
    );
    model.quantize({ bits: 4 });
    assert.deepEqual(keys.map(propertyPath).sort(), [...model.parameters().keys()].sort());
  });

  test("need the configs of their source, and no others", async () => {
    await refused(
      () => openModelFiles(q4),
      ModelError,
      /its shapes differ from the published FLUX\.1 Depth \(vocab_size of text_encoder is 864 in the weights and 49408 .*configFrom/,
    );
    await refused(
      () => openModelFiles(q4, bundled),
      ModelError,
      /made with other configs than those in .*tiny-world: \w+ of text_encoder_2/,
    );
    const without = fresh();
    cpSync(q4, without, { recursive: true });
    rmSync(join(without, "vae"), { recursive: true });
    await refused(() => openModelFiles(without, source), ModelError, /the folder vae is missing/);
    assert.deepEqual(openModelFiles(source, q4).notes, [
      `configFrom is ${q4}, without effect: the model has its own configs.`,
    ]);
  });

  test("have FLUX.1-Depth-dev's configs where the sizes are its own", async () => {
    const folder = fresh();
    writeRealSizes(folder);
    assert.deepEqual(openModelFiles(folder), {
      family: flux1Depth,
      folder,
      configs: depthDev,
      original: null,
      storedBits: 4,
      notes: [],
      origin: null,
    });
    writeRealSizes(folder, { single: 37 });
    await refused(() => openModelFiles(folder), ModelError, /num_single_layers of transformer is 37 .* 38/);
    writeRealSizes(folder, { channels: 64 });
    await refused(
      () => openModelFiles(folder),
      ModelError,
      /FLUX\.1 dev or schnell, which takes no depth map/,
    );
  });

  test("without the bias of the last modulation load with zeros or the original's, and a note", async () => {
    const folder = fresh();
    cpSync(q4, folder, { recursive: true });
    const file = join(folder, "transformer", "0.safetensors");
    const { arrays, metadata } = loadSafetensors(file);
    const bias = arrays.get("norm_out.linear.bias")!;
    arrays.delete("norm_out.linear.bias");
    await saveSafetensors(file, arrays, metadata);
    for (const one of arrays.values()) one.dispose();
    rmSync(join(folder, "transformer", "model.safetensors.index.json"));

    const original = await parametersOf(
      { model: folder, configFrom: source, dtype: "bfloat16" },
      "transformer",
    );
    assert.equal(original.get("normOut.linear.bias"), bitsOf(bias));
    assert.match(
      openModelFiles(folder, source).notes[0]!,
      /norm_out\.linear\.bias is missing.* it is read from .*source/,
    );

    const configs = fresh();
    cpSync(source, configs, { recursive: true, filter: (file) => !file.endsWith(".safetensors") });
    const zeros = await parametersOf(
      { model: folder, configFrom: configs, dtype: "bfloat16" },
      "transformer",
    );
    using zero = array(new Uint16Array(bias.size), { dtype: "bfloat16" });
    assert.equal(zeros.get("normOut.linear.bias"), bitsOf(zero));
    assert.match(openModelFiles(folder, configs).notes[0]!, /zeros take its place.*configFrom/);
    bias.dispose();
    using flux = await FluxDepth.load({ model: folder, configFrom: configs });
    const { warnings, image } = await flux.generate(request);
    assert.deepEqual(warnings, flux.notes);
    assert.equal(image.data.length, 64 * 64 * 3);
  });
});

describe("saveModel", () => {
  test("writes what mflux writes, key by key, bit by bit", async () => {
    const folder = fresh();
    const saved = await saveModel({ model: source, quantize: 4, path: folder });
    assert.deepEqual({ ...saved, bytes: 0 }, { path: folder, bytes: 0, quantize: 4, notes: [] });
    for (const name of partNames.slice(0, 3))
      assert.deepEqual(contentsOf(join(folder, name)), contentsOf(join(golden, "q4", name)), name);
    // Once more, from what mflux saved.
    const again = fresh();
    await saveModel({ model: q4, configFrom: source, path: again });
    for (const name of partNames)
      assert.deepEqual(contentsOf(join(again, name)), contentsOf(join(folder, name)), name);
  });

  test("at 3, 4 and 8 bits, whole", { skip }, async () => {
    for (const bits of [3, 4, 8] as const) {
      const folder = fresh();
      await saveModel({ model: join(shared, "source"), quantize: bits, path: folder });
      for (const name of partNames)
        assert.deepEqual(
          contentsOf(join(folder, name)),
          contentsOf(join(shared, `q${bits}`, name)),
          `${name} at ${bits} bits`,
        );
    }
  });

  test("with every bit width, what loads is what was saved, and needs nothing else", async () => {
    for (const bits of [3, 4, 5, 6, 8, "none"] as const) {
      const folder = fresh();
      await saveModel({ model: source, quantize: bits, path: folder });
      for (const name of partNames)
        assert.deepEqual(
          await parametersOf({ model: folder, quantize: "none" }, name),
          await parametersOf({ model: source, quantize: bits }, name),
          `${name} at ${bits} bits`,
        );
      rmSync(folder, { recursive: true });
    }
  });

  test("what was saved makes the same picture, also from a photo, and says where it is from", async () => {
    const folder = fresh();
    await saveModel({ model: "tiny-world", quantize: 4, path: folder });
    writeFileSync(
      join(folder, "mflux-depth.json"),
      readFileSync(join(folder, "mflux-depth.json"), "utf8").replace('"revision": null', '"revision": "abc"'),
    );
    using saved = await FluxDepth.load({ model: folder });
    using direct = await FluxDepth.load({ model: "tiny-world", quantize: 4 });
    const photo = { data: new Uint8Array(64 * 64 * 3).fill(90), width: 64, height: 64, channels: 3 };
    for (const input of [{}, { depthImage: null, image: photo }]) {
      const [a, b] = [
        await saved.generate({ ...request, ...input }),
        await direct.generate({ ...request, ...input }),
      ];
      assert.deepEqual([a.image, a.latents], [b.image, b.latents]);
      assert.equal(a.metadata.revision, "abc");
    }
    const again = fresh();
    await saveModel({ model: folder, path: again });
    const origin = readConfig(again, "mflux-depth.json");
    assert.deepEqual([origin.model, origin.revision, origin.quantize], ["tiny-world", "abc", 4]);
  });

  test("keeps the bits that are stored, with a note, and the dtype that is asked for", async () => {
    const folder = fresh();
    const saved = await saveModel({ model: q4, configFrom: source, quantize: 8, path: folder });
    assert.equal(saved.quantize, 4);
    assert.deepEqual(saved.notes, ["quantize is 8, without effect: the weights are stored with 4 bits."]);
    const wide = fresh();
    await saveModel({ model: source, quantize: "none", dtype: "float32", path: wide });
    const { entries, metadata } = openCheckpoint(join(wide, "transformer"));
    assert.deepEqual([...new Set([...entries.values()].map(({ dtype }) => dtype))], ["F32"]);
    assert.equal(metadata.get("quantization_level"), "None");
  });

  test("splits what is too long for one file", () => {
    const sizes = [40, 60, 1, 300, 20, 80, 1];
    const tensors = sizes.map((n, i): NamedArray => [`${i}`, array(new Uint8Array(n))]);
    const shards = intoShards(tensors, 100).map((shard) => shard.map(([, { nbytes }]) => nbytes));
    assert.deepEqual(shards, [[40, 60], [1], [300], [20, 80], [1]]);
    for (const [, one] of tensors) one.dispose();
  });

  test("tells how far it is", async () => {
    const events: { component: string; bytes: number; totalBytes: number }[] = [];
    const { bytes } = await saveModel({
      model: source,
      path: fresh(),
      onProgress: (event) => event.state === "write" && events.push(event),
    });
    assert.deepEqual([...new Set(events.map(({ component }) => component))], partNames);
    assert.ok(
      events.every((event, i) => event.totalBytes === bytes && event.bytes >= (events[i - 1]?.bytes ?? 0)),
    );
    assert.equal(events.at(-1)!.bytes, bytes);
  });

  test("refuses a folder that is not empty, a file, a place that is not there, and bad options", async () => {
    const folder = fresh();
    mkdirSync(folder);
    writeFileSync(join(folder, "mine"), "");
    await refused(() => saveModel({ model: source, path: folder }), OutputError, /not empty/);
    await refused(
      () => saveModel({ model: source, path: join(folder, "mine") }),
      OutputError,
      /a file of this name/,
    );
    await refused(
      () => saveModel({ model: source, path: join(folder, "a", "b") }),
      OutputError,
      /there is no folder .*a to/,
    );
    assert.deepEqual(readdirSync(folder), ["mine"]);
    await assert.rejects(saveModel({ model: source, path: " " }), OptionError);
    await assert.rejects(saveModel({ model: source, path: fresh(), quantize: 7 as Bits }), OptionError);
    await assert.rejects(saveModel({ model: source, path: fresh(), steps: 3 } as never), /no option steps/);
    // An empty one is filled.
    rmSync(join(folder, "mine"));
    await saveModel({ model: source, path: folder });
    assert.ok(readdirSync(folder).includes("model_index.json"));
  });

  test("a model that does not fit is found out before anything is written", async () => {
    const broken = fresh();
    cpSync(source, broken, { recursive: true });
    const config = join(broken, "vae", "config.json");
    writeFileSync(
      config,
      readFileSync(config, "utf8").replace('"layers_per_block": 1', '"layers_per_block": 2'),
    );
    const parent = fresh();
    mkdirSync(parent);
    await refused(
      () => saveModel({ model: broken, path: join(parent, "x") }),
      ModelError,
      /is missing|is no part/,
    );
    assert.deepEqual(readdirSync(parent), []);
  });

  test("cancelled, it leaves nothing and rejects with the reason", async () => {
    const parent = fresh();
    mkdirSync(parent);
    const controller = new AbortController();
    const reason = new Error("enough");
    const { signal } = controller;
    await assert.rejects(
      saveModel({
        model: source,
        path: join(parent, "x"),
        signal,
        onProgress: () => controller.abort(reason),
      }),
      (error) => error === reason,
    );
    assert.deepEqual(readdirSync(parent), []);
  });
});

const child = path("../support/saved-child.js");
const runChild = promisify(execFile);

describe("in a process of its own", () => {
  test("killed, a save leaves nothing that loads, and the next one cleans up", async () => {
    const parent = fresh();
    mkdirSync(parent);
    const target = join(parent, "model");
    const { signal } = spawnSync(process.execPath, [child, "die", target]);
    assert.equal(signal, "SIGKILL");
    const [partial, ...others] = readdirSync(parent);
    assert.match(partial!, /^model\.\d+\.partial$/);
    assert.deepEqual(others, []);
    await assert.rejects(FluxDepth.load({ model: target }), ModelError);
    await assert.rejects(FluxDepth.load({ model: join(parent, partial!) }), ModelError);
    await assert.rejects(FluxDepth.load({ model: join(parent, partial!), configFrom: bundled }), ModelError);
    await saveModel({ model: "tiny-world", path: target });
    assert.deepEqual(readdirSync(parent), ["model"]);
    await parametersOf({ model: target }, "transformer");
  });

  test("memory stays near the quantized size, however large the source", {
    skip: !existsSync("/proc/self/status"),
  }, async () => {
    const folder = fresh();
    mkdirSync(folder);
    const run = async (mode: string): Promise<{ grown: number; held: number }> =>
      JSON.parse((await runChild(process.execPath, [child, mode, folder])).stdout);
    // 134 MB dense, 38 MB at 4 bits.
    const MB = 1e6;
    const made = await run("make");
    assert.ok(made.grown < 60 * MB, `writing 134 MB took ${made.grown / MB} MB`);
    const loaded = await run("load");
    assert.ok(loaded.held < 38 * MB, `${loaded.held / MB} MB held`);
    assert.ok(
      loaded.grown < loaded.held + 30 * MB,
      `loading 134 MB into ${loaded.held / MB} took ${loaded.grown / MB} MB`,
    );
    const written = await run("quantize");
    assert.ok(written.grown < 60 * MB, `quantizing 134 MB into a file took ${written.grown / MB} MB`);
    rmSync(join(folder, "model.safetensors"));
    const again = await run("load");
    assert.equal(again.held, loaded.held);
    assert.ok(
      again.grown < again.held + 30 * MB,
      `loading ${again.held / MB} MB took ${again.grown / MB} MB`,
    );
  });
});

/** Headers with the sizes of FLUX.1-Depth-dev at 4 bits, of what is looked at; the files are holes. */
function writeRealSizes(folder: string, { single = 38, channels = 128 } = {}): void {
  type Matrix = readonly [name: string, rows: number, columns: number];
  const write = (
    part: PartName,
    matrices: readonly Matrix[],
    plain: Readonly<Record<string, readonly number[]>>,
  ): void => {
    const tensors: Record<string, Tensors[string]> = {};
    for (const [name, rows, columns] of matrices) {
      tensors[`${name}.weight`] = ["U32", [rows, columns / 8]];
      for (const one of ["scales", "biases"]) tensors[`${name}.${one}`] = ["BF16", [rows, columns / 64]];
    }
    for (const [name, shape] of Object.entries(plain)) tensors[name] = ["BF16", shape];
    mkdirSync(join(folder, part), { recursive: true });
    writeHoles(join(folder, part, "0.safetensors"), tensors, {
      quantization_level: "4",
      mflux_version: "0.24.0",
    });
  };
  const each = (n: number, name: (i: number) => string): Record<string, readonly number[]> =>
    Object.fromEntries(Array.from({ length: n }, (_, i) => [name(i), [8]]));
  const clip = "text_model.embeddings";
  write(
    "text_encoder",
    [
      [`${clip}.token_embedding`, 49408, 768],
      [`${clip}.position_embedding`, 77, 768],
      ["text_model.encoder.layers.0.mlp.fc1", 3072, 768],
    ],
    each(12, (i) => `text_model.encoder.layers.${i}.layer_norm1.weight`),
  );
  const attention = "t5_blocks.0.attention.SelfAttention";
  write(
    "text_encoder_2",
    [
      ["shared", 32128, 4096],
      [`${attention}.q`, 4096, 4096],
      [`${attention}.relative_attention_bias`, 32, 64],
      ["t5_blocks.0.ff.DenseReluDense.wo", 4096, 10240],
    ],
    each(24, (i) => `t5_blocks.${i}.ff.layer_norm.weight`),
  );
  write(
    "transformer",
    [
      ["x_embedder", 3072, channels],
      ["proj_out", 64, 3072],
      ["context_embedder", 3072, 4096],
      ["time_text_embed.text_embedder.linear_1", 3072, 768],
      ["time_text_embed.guidance_embedder.linear_1", 3072, 256],
    ],
    {
      "transformer_blocks.0.attn.norm_q.weight": [128],
      ...each(19, (i) => `transformer_blocks.${i}.attn.norm_k.weight`),
      ...each(single, (i) => `single_transformer_blocks.${i}.attn.norm_k.weight`),
    },
  );
  write("vae", [], {
    "decoder.conv_in.conv2d.weight": [512, 3, 3, 16],
    ...Object.fromEntries(
      [128, 256, 512, 512].map((n, i) => [`encoder.down_blocks.${i}.resnets.0.conv1.weight`, [n, 3, 3, 8]]),
    ),
    "encoder.down_blocks.0.resnets.1.conv1.weight": [128, 3, 3, 128],
  });
  for (const tokenizer of ["tokenizer", "tokenizer_2"])
    mkdirSync(join(folder, tokenizer), { recursive: true });
}
