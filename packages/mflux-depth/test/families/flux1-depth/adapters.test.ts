import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import {
  array,
  astype,
  concatenate,
  loadSafetensors,
  type MxArray,
  matmul,
  memory,
  multiply,
  ones,
  saveSafetensors,
  slice,
  sqrt,
  square,
  sum,
  zeros,
  zerosLike,
} from "@mflux-depth/mlx";
import { Linear, runStages } from "@mflux-depth/mlx/nn";
import type { ClipTextEncoder } from "../../../src/models/clip.js";
import type { T5Encoder } from "../../../src/models/t5.js";
import type { Model } from "../../../src/pipeline/model/model.js";
import { openAdapterFile } from "../../../src/weights/adapters/adapter-file.js";
import { attachAdapters } from "../../../src/weights/adapters/attach.js";
import { matchAdapter } from "../../../src/weights/adapters/match.js";
import { trainingOf } from "../../../src/weights/adapters/scaling.js";
import { openCheckpoint } from "../../../src/weights/checkpoint.js";
import { adapterFile, expected, openWithLoras, outputWith, rewritten } from "../../support/adapters.js";
import { relativeError, values } from "../../support/tensors.js";
import { bundled } from "../../support/tiny-world.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-adapters-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const tolerance = 2e-5;

/** The file, its scale, and the golden that it must give. */
const single: readonly (readonly [file: string, scale: number, golden: string])[] = [
  ["diffusers", 1, "style"],
  ["diffusers", 0.5, "style-half"],
  ["kohya", 1, "style"],
  ["comfy", 1, "style"],
  ["comfy-alpha", 1, "style"],
  ["onetrainer", 1, "style"],
  ["outer-diffusers", 1, "outer"],
  ["outer-kohya", 1, "outer"],
  ["outer-kohya-alpha", 1, "outer"],
  ["outer-comfy", 1, "outer"],
  ["xlabs", 1, "xlabs"],
  ["lokr", 1, "lokr"],
  ["lokr", 0.7, "lokr-0.7"],
  ["lokr-lycoris", 1, "lokr-lycoris"],
  ["loha", 1, "loha"],
  ["dora", 1, "dora"],
  ["dora", 0.6, "dora-0.6"],
  ["dora-peft", 1, "dora-peft"],
  ["second", 1, "second"],
];

describe("LoRAs give what diffusers computes with merged weights", () => {
  for (const [file, scale, golden] of single)
    test(`from ${file} at ${scale}`, async () => {
      const error = relativeError(await outputWith([{ source: adapterFile(file), scale }]), expected(golden));
      assert.ok(error < tolerance, `relative error ${error}`);
    });

  /** Prefixes of other trainers around the same names. */
  const prefixes = [
    ["diffusers", "transformer.", ""],
    ["diffusers", "transformer.", "base_model.model."],
    ["comfy", "diffusion_model.", "base_model.model."],
    ["comfy", "diffusion_model.", ""],
    ["xlabs", "", "diffusion_model."],
  ] as const;
  for (const [file, from, to] of prefixes)
    test(`from ${file} with the prefix "${to}"`, async () => {
      const path = await rewritten(file, folder, (key, tensor) => [[to + key.slice(from.length), tensor]]);
      const error = relativeError(await outputWith([path]), expected(file === "xlabs" ? "xlabs" : "style"));
      assert.ok(error < tolerance, `relative error ${error}`);
    });

  test("from OneTrainer's file with dots in its names", async () => {
    const names = [...loadSafetensors(adapterFile("diffusers")).arrays.keys()].map((key) =>
      key.replace(/^transformer\.|\.lora_[AB]\.weight$/g, ""),
    );
    const dotted = new Map(names.map((name) => [name.replaceAll(".", "_"), name]));
    const path = await rewritten("onetrainer", folder, (key, tensor) => [
      [
        key.replace(/^lora_transformer_(\w+)/, (_, name: string) => `transformer.${dotted.get(name)}`),
        tensor,
      ],
    ]);
    const error = relativeError(await outputWith([path]), expected("style"));
    assert.ok(error < tolerance, `relative error ${error}`);
  });

  for (const first of ["diffusers", "kohya"])
    test(`from two at once, ${first} at 0.6 and another at -0.4`, async () => {
      const found = await outputWith([
        { source: adapterFile(first), scale: 0.6 },
        { source: adapterFile("second"), scale: -0.4 },
      ]);
      const error = relativeError(found, expected("two"));
      assert.ok(error < tolerance, `relative error ${error}`);
    });

  for (const file of ["text-kohya", "text-onetrainer", "text-comfy", "text-diffusers"])
    test(`for the text encoders, from ${file}`, async () => {
      const { components } = await openWithLoras([adapterFile(file)]);
      const rows = (name: string): MxArray =>
        array(Int32Array.from(expected(name)), { shape: [2, expected(name).length / 2] });
      const clip = (await components.text_encoder!.get()) as ClipTextEncoder;
      const pooled = values(await runStages(clip.stages(rows("text.clip_ids"))));
      components.text_encoder!.free();
      assert.ok(relativeError(pooled, expected("text.pooled")) < tolerance);
      if (file === "text-diffusers") return;
      const t5 = (await components.text_encoder_2!.get()) as T5Encoder;
      const embeddings = values(await runStages(t5.stages(rows("text.t5_ids"))));
      components.text_encoder_2!.free();
      assert.ok(relativeError(embeddings, expected("text.prompt_embeds")) < tolerance);
    });

  test("only where they differ from the plain model: scale 0 gives its result to the bit", async () => {
    const plain = await outputWith([]);
    assert.ok(relativeError(plain, expected("plain")) < tolerance);
    for (const file of ["kohya", "lokr", "dora"])
      assert.deepEqual(await outputWith([{ source: adapterFile(file), scale: 0 }]), plain);
  });
});

const firstColumns = (a: MxArray): MxArray => slice(a, [null, [0, 64]]);
const withZeros = (a: MxArray): MxArray => concatenate([firstColumns(a), zerosLike(firstColumns(a))], 1);

describe("whole matrices", () => {
  test("are added like the products they came from", async () => {
    const arrays = loadSafetensors(adapterFile("diffusers")).arrays;
    const whole = new Map<string, MxArray>();
    for (const [key, b] of arrays)
      if (key.endsWith(".lora_B.weight"))
        whole.set(
          key.replace(".lora_B.weight", ".diff"),
          matmul(astype(b, "float32"), astype(arrays.get(key.replace("lora_B", "lora_A"))!, "float32")),
        );
    const path = join(folder, "whole.safetensors");
    await saveSafetensors(path, whole);
    const error = relativeError(await outputWith([path]), expected("style"));
    assert.ok(error < tolerance, `relative error ${error}`);
  });

  test("may be those of biases", async () => {
    const path = join(folder, "bias.safetensors");
    await saveSafetensors(path, new Map([["diffusion_model.final_layer.linear.diff_b", ones([64])]]));
    const found = await outputWith([{ source: path, scale: -0.5 }]);
    const error = relativeError(
      found,
      expected("plain").map((value) => value - 0.5),
    );
    assert.ok(error < tolerance, `relative error ${error}`);
  });

  test("add to a LoRA's own bias", async () => {
    const path = join(folder, "biases.safetensors");
    const name = "diffusion_model.final_layer.linear";
    await saveSafetensors(
      path,
      new Map([
        [`${name}.lora_A.weight`, zeros([1, 192])],
        [`${name}.lora_B.weight`, zeros([64, 1])],
        [`${name}.lora_B.bias`, ones([64])],
        [`${name}.diff_b`, ones([64])],
      ]),
    );
    const error = relativeError(
      await outputWith([path]),
      expected("plain").map((value) => value + 2),
    );
    assert.ok(error < tolerance, `relative error ${error}`);
  });
});

describe("DoRA", () => {
  const name = "transformer.x_embedder";
  /** The weight of the input layer, whose first 64 columns also exist in FLUX.1-dev. */
  const weightOf = async (model: Model): Promise<MxArray> => {
    const transformer = await model.components.transformer!.get();
    const layer = new Map(transformer.modules()).get("xEmbedder");
    assert.ok(layer instanceof Linear);
    return layer.weight;
  };

  for (const axis of ["rows", "columns"] as const)
    test(`of FLUX.1-dev's input layer, over ${axis}, leaves the control latents alone`, async () => {
      const plain = await openWithLoras([]);
      const weight = astype(firstColumns(await weightOf(plain)), "float32");
      const along = axis === "rows" ? 1 : 0;
      const norms = sqrt(sum(square(weight), { axis: along, keepDims: true }));
      const path = join(folder, `dora-${axis}.safetensors`);
      // Magnitudes of twice the norms double the weight.
      await saveSafetensors(
        path,
        new Map([
          [`${name}.lora_A.weight`, zeros([1, 64])],
          [`${name}.lora_B.weight`, zeros([192, 1])],
          [`${name}.dora_scale`, multiply(norms, 2)],
        ]),
      );
      const whole = join(folder, `whole-${axis}.safetensors`);
      const change = concatenate([weight, zerosLike(weight)], 1);
      await saveSafetensors(whole, new Map([[`${name}.diff`, change]]));
      plain.components.transformer!.free();
      const error = relativeError(await outputWith([path]), await outputWith([whole]));
      assert.ok(error < tolerance, `relative error ${error}`);
    });

  test("leaves rows of zeros unchanged", async () => {
    const path = join(folder, "zeros.safetensors");
    const layer = "transformer.transformer_blocks.0.attn.to_q";
    const { arrays } = loadSafetensors(join(bundled, "transformer/diffusion_pytorch_model.safetensors"));
    const weight = astype(arrays.get("transformer_blocks.0.attn.to_q.weight")!, "float32");
    await saveSafetensors(
      path,
      new Map([
        [`${layer}.diff`, multiply(weight, -1)],
        [`${layer}.dora_scale`, ones([192, 1])],
      ]),
    );
    assert.ok((await outputWith([path])).every(Number.isFinite));
  });

  test("holds one layer's unquantized weight at a time", async () => {
    const path = await rewritten("diffusers", folder, (key, tensor) =>
      key.endsWith(".lora_B.weight")
        ? [
            [key, tensor],
            [key.replace(".lora_B.weight", ".lora_magnitude_vector"), ones([tensor.shape[0]!])],
          ]
        : [[key, tensor]],
    );
    const { components, family, configs } = await openWithLoras([], { quantize: 4 });
    const transformer = await components.transformer!.get();
    const checkpoint = openCheckpoint(join(bundled, "transformer"));
    const file = openAdapterFile(path);
    const match = matchAdapter(file, family.adapterNames(configs));
    memory.clearCache();
    const before = memory.activeMemory();
    memory.resetPeakMemory();
    await attachAdapters(transformer, file, match, {
      dial: { scale: 1 },
      training: trainingOf(file),
      stored: () => checkpoint.tensors(),
      signal: new AbortController().signal,
    });
    const left = memory.activeMemory() - before;
    const peak = memory.peakMemory() - before;
    components.transformer!.free();
    const largest = Math.max(...Array.from(checkpoint.entries.values(), ({ bytes }) => bytes));
    // As stored, and in float32 with what is added, and their squares.
    assert.ok(peak - left < 8 * largest, `${peak - left} bytes, the largest weight has ${largest}`);
  });
});

describe("the input layer", () => {
  test("takes an adapter of FLUX.1-dev, whose input lacks the control latents", async () => {
    const narrow = await rewritten("outer-diffusers", folder, (key, tensor) =>
      key.includes("x_embedder.lora_A") ? [[key, firstColumns(tensor)]] : [[key, tensor]],
    );
    const zeroed = await rewritten("outer-diffusers", folder, (key, tensor) =>
      key.includes("x_embedder.lora_A") ? [[key, withZeros(tensor)]] : [[key, tensor]],
    );
    const error = relativeError(await outputWith([narrow]), await outputWith([zeroed]));
    assert.ok(error < 1e-6, `relative error ${error}`);
  });
});
