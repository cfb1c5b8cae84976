import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  concatenate,
  loadSafetensors,
  type MxArray,
  multiply,
  saveSafetensors,
  slice,
} from "@mflux-depth/mlx";
import { FluxDepth, type LoadOptions, saveModel } from "../../src/index.js";
import { inspect } from "../../src/pipeline/inspect.js";
import { adapterFile, goldenOutput, openWithLoras, outputWith } from "../support/adapters.js";
import { modelError } from "../support/hub-fixture.js";
import { relativeError } from "../support/tensors.js";
import { bundled, smallRequest } from "../support/tiny-world.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-replaced-"));
after(() => rmSync(folder, { recursive: true, force: true }));

type Given = NonNullable<LoadOptions["loras"]>;

/** Writes tensors as an adapter file; returns its path. */
async function written(name: string, tensors: Iterable<readonly [string, MxArray]>): Promise<string> {
  const path = join(folder, `${name}.safetensors`);
  await saveSafetensors(path, new Map(tensors));
  return path;
}

/** The weights of a component of the bundled model. */
const weightsOf = (component: string): Map<string, MxArray> => {
  const file = component === "transformer" ? "diffusion_pytorch_model" : "model";
  return loadSafetensors(join(bundled, component, `${file}.safetensors`)).arrays;
};

/** ComfyUI's keys for the weights and biases of some layers, as they are with a LoRA merged into them. */
let merged: string;
/** Shift and scale in the order of Black Forest Labs. */
const halvesSwapped = (tensor: MxArray): MxArray => {
  const half = tensor.shape[0]! / 2;
  return concatenate([slice(tensor, [[half, null]]), slice(tensor, [[0, half]])]);
};

before(async () => {
  const path = join(folder, "merged");
  await saveModel({
    ...{ model: "tiny-world", quantize: "none", dtype: "float32", bakeLora: true },
    loras: [adapterFile("outer-kohya"), adapterFile("kohya")],
    path,
  });
  const { arrays } = loadSafetensors(join(path, "transformer/0.safetensors"));
  const names = [...arrays.keys()];
  const of = (key: string): MxArray => arrays.get(key)!;
  const tensors = new Map<string, MxArray>();
  for (const parameter of ["weight", "bias"]) {
    const as = (layer: string): string =>
      `diffusion_model.${layer}${parameter === "bias" ? ".bias" : ""}.set_weight`;
    for (const name of names.filter((one) => /\.attn\.to_q\.weight$/.test(one))) {
      const block = /^(single_)?transformer_blocks\.(\d+)\./.exec(name)!;
      const parts = ["to_q", "to_k", "to_v"].map((part) => of(`${block[0]}attn.${part}.${parameter}`));
      if (block[1])
        tensors.set(
          as(`single_blocks.${block[2]}.linear1`),
          concatenate([...parts, of(`${block[0]}proj_mlp.${parameter}`)]),
        );
      else tensors.set(as(`double_blocks.${block[2]}.img_attn.qkv`), concatenate(parts));
    }
    tensors.set(as("final_layer.adaLN_modulation.1"), halvesSwapped(of(`norm_out.linear.${parameter}`)));
  }
  // The other layers under diffusers' names.
  for (const name of names)
    if (name.endsWith(".weight") && of(name).ndim === 2 && !/\.to_[qkv]\.|proj_mlp|norm_out/.test(name)) {
      const layer = name
        .slice(0, -".weight".length)
        .replace(/\.linear1$/, ".net.0.proj")
        .replace(/\.linear2$/, ".net.2");
      tensors.set(`diffusion_model.${layer}.set_weight`, of(name));
    }
  merged = await written("merged", tensors);
});

const reference = (): Promise<Float32Array> => outputWith([adapterFile("outer-kohya"), adapterFile("kohya")]);

describe("weights that a LoRA replaces", () => {
  test("give what the merged weights give, at every strength", async () => {
    const wanted = await reference();
    for (const scale of [1, 0.5, -2]) {
      const error = relativeError(await outputWith([{ source: merged, scale }]), wanted);
      // Loading holds them in the 16 bits of the weights that they replace; saving below does not.
      assert.ok(error < 5e-3, `relative error ${error} at ${scale}`);
    }
  });

  for (const bits of [4, 8] as const)
    test(`are quantized as the layers are, with ${bits} bits`, async () => {
      const replaced = await outputWith([merged], { quantize: bits });
      const baked = await outputWith([adapterFile("outer-kohya"), adapterFile("kohya")], {
        quantize: bits,
        bakeLora: true,
      });
      const error = relativeError(replaced, baked);
      assert.ok(error < 2e-2, `relative error ${error}`);
    });

  test("are the base of LoRAs behind them, also baked", async () => {
    const style = { source: adapterFile("second"), scale: -0.4 };
    const wanted = await outputWith([adapterFile("outer-kohya"), adapterFile("kohya"), style]);
    const added = relativeError(await outputWith([merged, style]), wanted);
    assert.ok(added < 5e-3, `relative error ${added}`);
    const baked = relativeError(await outputWith([merged, style], { bakeLora: true }), wanted);
    assert.ok(baked < 5e-3, `relative error ${baked}`);
  });

  test("are saved in a file of their own, or in the model's weights", async () => {
    const wanted = await reference();
    for (const bakeLora of [false, true]) {
      const path = join(folder, `saved-${bakeLora}`);
      await saveModel({
        model: "tiny-world",
        quantize: "none",
        dtype: "float32",
        bakeLora,
        loras: [merged],
        path,
      });
      const error = relativeError(await goldenOutput(await openWithLoras([], { model: path })), wanted);
      assert.ok(error < 2e-5, `relative error ${error}`);
    }
  });

  test("are the same at every strength of a request, and cannot be turned off by one", async () => {
    using flux = await FluxDepth.load({ model: "tiny-world", loras: [merged], quantize: 4 });
    const whole = await flux.generate(smallRequest);
    const other = await flux.generate({ ...smallRequest, loraScales: [0.5] });
    assert.deepEqual(other.image.data, whole.image.data);
    await assert.rejects(flux.generate({ ...smallRequest, loraScales: [0] }), {
      name: "OptionError",
      message: /merged\.safetensors replaces whole weights.* 0 would not turn it off/,
    });
    await assert.rejects(FluxDepth.load({ model: "tiny-world", loras: [{ source: merged, scale: 0 }] }), {
      name: "OptionError",
      message: /load the model without it/,
    });
  });

  test("are counted as replaced parameters when the file is inspected", async () => {
    const found = await inspect(merged, { model: "tiny-world" });
    assert.ok(found.kind === "adapter" && found.fits);
    assert.equal(found.components.length, 1);
    assert.ok(found.components[0]!.replaced > 20 && found.components[0]!.layers === 0);
  });
});

describe("embeddings and norms of the text encoders", () => {
  const cases = [
    [
      "text_encoder",
      "text_model.embeddings.token_embedding.weight",
      "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.set_weight",
    ],
    [
      "text_encoder",
      "text_model.encoder.layers.0.layer_norm1.bias",
      "text_encoders.clip_l.transformer.text_model.encoder.layers.0.layer_norm1.bias.set_weight",
    ],
    ["text_encoder_2", "shared.weight", "text_encoders.t5xxl.transformer.shared.set_weight"],
    [
      "text_encoder_2",
      "encoder.block.0.layer.1.layer_norm.weight",
      "text_encoders.t5xxl.transformer.encoder.block.0.layer.1.layer_norm.set_weight",
    ],
  ] as const;
  for (const [component, name, key] of cases)
    for (const quantize of ["none", 8] as const)
      test(`are replaced: ${name}, quantize ${quantize}`, async () => {
        const stored = weightsOf(component).get(name)!;
        const options = { model: "tiny-world", quantize, dtype: "float32", int8: false } as const;
        using plain = await FluxDepth.load(options);
        const latentsOf = async (flux: FluxDepth): Promise<Float32Array> =>
          (await flux.generate(smallRequest)).latents.data;
        const before = await latentsOf(plain);
        using same = await FluxDepth.load({
          ...options,
          loras: [await written(`same-${quantize}`, [[key, stored]])],
        });
        assert.ok(relativeError(await latentsOf(same), before) < 1e-6);
        const twice = await written(`twice-${quantize}`, [[key, multiply(stored, -2)]]);
        using other = await FluxDepth.load({ ...options, loras: [twice] });
        assert.ok(relativeError(await latentsOf(other), before) > 1e-4);
      });
});

describe("a replacement is refused", () => {
  const refused = async (
    tensors: readonly (readonly [string, MxArray])[],
    message: RegExp,
    before: Given = [],
  ): Promise<void> => {
    const path = await written("refused", tensors);
    await assert.rejects(outputWith([...before, path]), modelError(message));
  };
  const proj = (): MxArray => weightsOf("transformer").get("proj_out.weight")!;

  test("of another shape, with both", () =>
    refused(
      [["diffusion_model.x_embedder.set_weight", proj()]],
      /has another shape.*x_embedder\.set_weight is \[\d+, \d+\], expected \[\d+, \d+\]/,
    ));

  test("of a layer that the model does not have", () =>
    refused(
      [["diffusion_model.double_blocks.99.img_mlp.0.set_weight", proj()]],
      /this adapter is for a FLUX\.1 model with other layers/,
    ));

  test("with values that are not finite", () =>
    refused(
      [["diffusion_model.final_layer.linear.set_weight", multiply(proj(), Number.NaN)]],
      /final_layer\.linear\.set_weight" has values that are not finite/,
    ));

  test("of a weight that a LoRA before it changes", () =>
    refused(
      [["diffusion_model.final_layer.linear.set_weight", proj()]],
      /replaces projOut\.weight of transformer, which this LoRA or one before it changes/,
      [adapterFile("outer-kohya")],
    ));
});
