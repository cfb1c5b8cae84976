import assert from "node:assert/strict";
import { cpSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { array, loadSafetensors, type MxArray, quantize, saveSafetensors } from "@mflux-depth/mlx";
import { propertyPath } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import { flux1Depth } from "../../src/families/flux1-depth/index.js";
import { componentNames } from "../../src/families/flux1-depth/layout.js";
import { autoencoderNames } from "../../src/families/flux1-depth/mflux-names.js";
import type { FluxNetworks } from "../../src/families/flux1-depth/networks.js";
import { openModelFiles } from "../../src/families/model-files.js";
import { readConfig } from "../../src/files/json.js";
import { FluxDepth, type GenerationResult } from "../../src/index.js";
import { Autoencoder, autoencoderConfig } from "../../src/models/autoencoder.js";
import { ClipTokenizer } from "../../src/tokenizers/clip.js";
import { T5Tokenizer } from "../../src/tokenizers/t5.js";
import { type Tensors, writeHoles } from "../support/holes.js";
import { failsWith } from "../support/refusals.js";
import {
  fingerprint,
  goldenComponents,
  goldenFolder,
  gradientRequest,
  parametersOf,
  savedModels,
  wholeModels,
  withoutWholeModels,
} from "../support/saved-models.js";
import { at } from "../support/tensors.js";
import { bundled } from "../support/tiny-world.js";

const { source, savedByMflux, newFolder } = savedModels();

/** A copy of {@link savedByMflux}. */
function copySaved(): string {
  const folder = newFolder();
  cpSync(savedByMflux, folder, { recursive: true });
  return folder;
}

describe("weights saved by mflux", () => {
  for (const name of goldenComponents)
    for (const dtype of ["bfloat16", "float32"] as const)
      test(`equal what we make of their source, bit for bit: ${name} in ${dtype}`, async () => {
        const theirs = await parametersOf(
          { model: savedByMflux, configFrom: source, quantize: "none", dtype },
          name,
        );
        const ours = await parametersOf({ model: source, quantize: 4, dtype }, name);
        assert.ok([...theirs.keys()].some((key) => key.endsWith(".scales")));
        assert.deepEqual(theirs, ours);
      });

  test("equal what we make of their source, bit for bit: whole models at 3, 4 and 8 bits", {
    skip: withoutWholeModels,
  }, async () => {
    for (const bits of [3, 4, 8] as const)
      for (const name of componentNames)
        assert.deepEqual(
          await parametersOf(
            { model: join(wholeModels, `q${bits}`), configFrom: join(wholeModels, "source") },
            name,
          ),
          await parametersOf({ model: join(wholeModels, "source"), quantize: bits }, name),
          `${name} at ${bits} bits`,
        );
  });

  test("keep the bits of each layer, and layers that are not quantized", async () => {
    const folder = copySaved();
    rmSync(join(folder, "text_encoder", "model.safetensors.index.json"));
    const file = join(folder, "text_encoder", "0.safetensors");
    const stored = loadSafetensors(file);
    const dense = loadSafetensors(join(source, "text_encoder", "model.safetensors")).arrays;
    const [tokens, positions] = ["token_embedding", "position_embedding"].map(
      (name) => `text_model.embeddings.${name}`,
    );
    const eight = quantize(dense.get(`${tokens}.weight`)!, { bits: 8 });
    for (const [name, one] of Object.entries(eight)) stored.arrays.set(`${tokens}.${name}`, one as MxArray);
    for (const name of ["scales", "biases"]) stored.arrays.delete(`${positions}.${name}`);
    stored.arrays.set(`${positions}.weight`, dense.get(`${positions}.weight`)!);
    await saveSafetensors(file, stored.arrays, stored.metadata);
    for (const one of [...stored.arrays.values(), ...dense.values()]) one.dispose();

    const options = { configFrom: source, dtype: "bfloat16", quantize: 4 } as const;
    const found = await parametersOf({ model: folder, ...options }, "text_encoder");
    const four = await parametersOf({ model: savedByMflux, ...options }, "text_encoder");
    const expected = new Map(four);
    const ofSource = (bits: 8 | "none") =>
      parametersOf({ ...options, model: source, quantize: bits }, "text_encoder");
    for (const [key, value] of await ofSource(8))
      if (key.startsWith("embeddings.tokenE")) expected.set(key, value);
    for (const name of ["scales", "biases"]) expected.delete(`embeddings.positionEmbedding.${name}`);
    const whole = (await ofSource("none")).get("embeddings.positionEmbedding.weight")!;
    expected.set("embeddings.positionEmbedding.weight", whole);
    assert.deepEqual(found, expected);
    assert.notDeepEqual(found, four);
  });

  test("name the VAE's tensors as we do, in both directions", () => {
    const { weight_map: places } = readConfig(
      join(goldenFolder, "q4", "vae"),
      "model.safetensors.index.json",
    );
    const names = Object.keys(places as object);
    const keys = names.map((name) => autoencoderNames.keyOf(name)!);
    assert.deepEqual(
      keys.map((key) => autoencoderNames.namesOf(key, null)),
      names.map((name) => [name]),
    );
    using vae = new Autoencoder(
      autoencoderConfig(readConfig(join(goldenFolder, "source", "vae"), "config.json"), "config.json"),
    );
    vae.quantize({ bits: 4 });
    assert.deepEqual(keys.map(propertyPath).sort(), [...vae.parameters().keys()].sort());
  });
});

describe("weights saved by mflux in several files without an index", () => {
  let folder: string;
  let transformer: string;
  before(async () => {
    folder = copySaved();
    transformer = join(folder, "transformer");
    const { arrays, metadata } = loadSafetensors(join(transformer, "0.safetensors"));
    const halves = [new Map<string, MxArray>(), new Map<string, MxArray>()];
    for (const [i, [name, one]] of [...arrays].entries()) halves[i % 2]!.set(name, one);
    for (const [i, half] of halves.entries())
      await saveSafetensors(join(transformer, `${i}.safetensors`), half, metadata);
    for (const one of arrays.values()) one.dispose();
    rmSync(join(transformer, "model.safetensors.index.json"));
  });

  test("load like those with an index", async () => {
    assert.deepEqual(
      await parametersOf({ model: folder, configFrom: source }, "transformer"),
      await parametersOf({ model: savedByMflux, configFrom: source }, "transformer"),
    );
  });

  test("are refused if a file is missing in between", async () => {
    renameSync(join(transformer, "1.safetensors"), join(transformer, "2.safetensors"));
    await failsWith(() => openModelFiles(folder, source), ModelError, /found 0\.safetensors, 2\.safetensors/);
  });
});

describe("a model saved by mflux", () => {
  const note = "quantize 8 has no effect: the weights are stored with 4 bits.";

  describe("in a generation", () => {
    let theirs: GenerationResult;
    before(async () => {
      using flux = await FluxDepth.load({ model: savedByMflux, configFrom: source, quantize: 8 });
      assert.deepEqual(flux.notes, [note]);
      theirs = await flux.generate(gradientRequest);
    });

    test("makes the image that its source makes at the same bits", async () => {
      using flux = await FluxDepth.load({ model: source, quantize: 4 });
      const ours = await flux.generate(gradientRequest);
      assert.deepEqual(theirs.latents, ours.latents);
      assert.deepEqual(theirs.image, ours.image);
      assert.deepEqual([flux.notes, ours.warnings], [[], []]);
    });

    test("keeps the stored bits and says so if others are requested", () => {
      assert.equal(theirs.metadata.quantize, 4);
      assert.deepEqual(theirs.warnings, [note]);
    });
  });

  test("gets no note if no bits are requested", async () => {
    using flux = await FluxDepth.load({ model: savedByMflux, configFrom: source });
    assert.deepEqual(flux.notes, []);
  });

  for (const prompt of [gradientRequest.prompt, "Crème brûlée, 42!", ""])
    test(`has tokenizers that give its source's tokens: "${prompt}"`, async () => {
      const encoded = async (folder: string) => [
        (await ClipTokenizer.load(join(folder, "tokenizer"))).encode(prompt),
        (await T5Tokenizer.load(join(folder, "tokenizer_2"))).encode(prompt),
      ];
      assert.deepEqual(await encoded(savedByMflux), await encoded(source));
    });

  test("needs configFrom unless it has the published sizes", async () => {
    await failsWith(
      () => openModelFiles(savedByMflux),
      ModelError,
      /shapes differ from the published FLUX\.1 Depth \(vocab_size of text_encoder is 864 in the weights and 49408 /,
    );
    assert.throws(
      () => openModelFiles(savedByMflux),
      (error) => {
        const [remedy] = (error as ModelError).details.remedies!;
        return remedy?.kind === "set-option" && remedy.option === "configFrom";
      },
    );
  });

  test("refuses configs that contradict its shapes", async () => {
    await failsWith(
      () => openModelFiles(savedByMflux, bundled),
      ModelError,
      /weights do not match the configs in .*tiny-world: \w+ of text_encoder_2/,
    );
  });

  test("is refused if a component is missing", async () => {
    const folder = copySaved();
    rmSync(join(folder, "vae"), { recursive: true });
    await failsWith(() => openModelFiles(folder, source), ModelError, /the folder vae is missing/);
  });
});

describe("a model with its own configs", () => {
  test("gets a note that configFrom has no effect", () => {
    assert.deepEqual(openModelFiles(source, savedByMflux).notes, [
      `configFrom ${savedByMflux} has no effect: the model has its own configs.`,
    ]);
  });
});

describe("a model saved by mflux with the published sizes", () => {
  test("gets the configs of FLUX.1-Depth-dev", () => {
    const folder = newFolder();
    writePublishedSizes(folder);
    assert.deepEqual(openModelFiles(folder), {
      family: flux1Depth,
      folder,
      configs: at("models/flux1-depth-dev"),
      denoiser: null,
      original: null,
      storedBits: 4,
      notes: [],
      origin: null,
    });
  });

  test("is refused if a block is missing", async () => {
    const folder = newFolder();
    writePublishedSizes(folder, { singleBlocks: 37 });
    await failsWith(() => openModelFiles(folder), ModelError, /num_single_layers of transformer is 37 .* 38/);
  });

  test("is refused if its transformer does not take control latents", async () => {
    const folder = newFolder();
    writePublishedSizes(folder, { channels: 64 });
    await failsWith(
      () => openModelFiles(folder),
      ModelError,
      /FLUX\.1 dev or schnell, which takes no depth map/,
    );
  });
});

describe("a model saved without the bias of the last modulation", () => {
  let folder: string;
  let lost: string;
  let zero: string;
  let configs: string;
  before(async () => {
    folder = copySaved();
    const file = join(folder, "transformer", "0.safetensors");
    const { arrays, metadata } = loadSafetensors(file);
    using bias = arrays.get("norm_out.linear.bias")!;
    lost = fingerprint(bias);
    using zeros = array(new Uint16Array(bias.size), { dtype: "bfloat16" });
    zero = fingerprint(zeros);
    arrays.delete("norm_out.linear.bias");
    await saveSafetensors(file, arrays, metadata);
    for (const one of arrays.values()) one.dispose();
    rmSync(join(folder, "transformer", "model.safetensors.index.json"));
    configs = newFolder();
    cpSync(source, configs, { recursive: true, filter: (path) => !path.endsWith(".safetensors") });
  });
  const biasWith = async (configFrom: string): Promise<string | undefined> =>
    (await parametersOf({ model: folder, configFrom, dtype: "bfloat16" }, "transformer")).get(
      "normOut.linear.bias",
    );

  test("reads it from the original weights, with a note", async () => {
    assert.equal(await biasWith(source), lost);
    assert.match(
      openModelFiles(folder, source).notes[0]!,
      /norm_out\.linear\.bias is missing.* it is read from .*source/,
    );
  });

  test("uses zeros if the original weights are not there, with a note", async () => {
    assert.equal(await biasWith(configs), zero);
    assert.match(openModelFiles(folder, configs).notes[0]!, /replaced by zeros.*configFrom/);
  });

  test("generates, and warns", async () => {
    using flux = await FluxDepth.load({ model: folder, configFrom: configs });
    const { warnings, image } = await flux.generate(gradientRequest);
    assert.deepEqual(warnings, flux.notes);
    assert.equal(image.data.length, 64 * 64 * 3);
  });
});

/**
 * Writes a model as mflux would save FLUX.1-Depth-dev at 4 bits: headers for the tensors whose shapes matter, and holes
 * for their values.
 */
function writePublishedSizes(folder: string, { singleBlocks = 38, channels = 128 } = {}): void {
  type Matrix = readonly [name: string, rows: number, columns: number];
  const write = (
    component: keyof FluxNetworks,
    matrices: readonly Matrix[],
    plain: Readonly<Record<string, readonly number[]>>,
  ): void => {
    const tensors: Record<string, Tensors[string]> = {};
    for (const [name, rows, columns] of matrices) {
      tensors[`${name}.weight`] = ["U32", [rows, columns / 8]];
      for (const one of ["scales", "biases"]) tensors[`${name}.${one}`] = ["BF16", [rows, columns / 64]];
    }
    for (const [name, shape] of Object.entries(plain)) tensors[name] = ["BF16", shape];
    mkdirSync(join(folder, component), { recursive: true });
    writeHoles(join(folder, component, "0.safetensors"), tensors, {
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
      ...each(singleBlocks, (i) => `single_transformer_blocks.${i}.attn.norm_k.weight`),
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
