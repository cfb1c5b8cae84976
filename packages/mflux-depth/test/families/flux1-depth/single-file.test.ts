import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { array, loadSafetensors, type MxArray, ones, saveSafetensors, slice } from "@mflux-depth/mlx";
import { FluxDepth, saveModel } from "../../../src/index.js";
import { resolveLoadOptions } from "../../../src/options/index.js";
import { findModel } from "../../../src/pipeline/model/model.js";
import { folderPerTest } from "../../support/folders.js";
import { modelError } from "../../support/hub-fixture.js";
import {
  expectedOf,
  expectedTensor,
  hashesOf,
  oneFile,
  oneFileOutput,
  openOneFile,
} from "../../support/one-file.js";
import { requirePlannedPeak } from "../../support/peak.js";
import { relativeError, values } from "../../support/tensors.js";
import { exampleImage, smallRequest } from "../../support/tiny-world.js";

const folder = folderPerTest("mflux-depth-one-file");

/** A checkpoint as other files have it; the first tensors come last, as if written by another program. */
async function changed(
  name: string,
  change: (key: string, tensor: MxArray) => readonly (readonly [string, MxArray])[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<string> {
  const path = join(folder(), "changed.safetensors");
  const { arrays } = loadSafetensors(oneFile(`${name}.safetensors`));
  const entries = [...arrays].flatMap(([key, tensor]) => change(key, tensor));
  await saveSafetensors(path, new Map(entries), new Map(Object.entries(metadata)));
  return path;
}

const open = async (path: string) =>
  (await findModel(resolveLoadOptions({ model: path, componentsFrom: "tiny-world" }))).files;

describe("a transformer in one file has the tensors and the output of diffusers'", () => {
  for (const name of ["bfl", "fp8", "fp8-scaled", "fp8-comfy-quant"])
    test(name, async () => {
      const path = oneFile(`${name}.safetensors`);
      assert.deepEqual(
        Object.entries(hashesOf((await open(path)).denoiser!.open())).sort(),
        Object.entries(expectedOf.sha256[name]!).sort(),
      );
      const error = relativeError(
        await oneFileOutput(await openOneFile(path), expectedOf.models[name]!),
        values(expectedTensor(`${name}.output`)),
      );
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  for (const name of ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "k-types"])
    test(`GGUF, ${name}`, async () => {
      const path = oneFile(`${name}.gguf`);
      assert.deepEqual(
        Object.entries(hashesOf((await open(path)).denoiser!.open())).sort(),
        Object.entries(expectedOf.sha256[name]!).sort(),
      );
      const error = relativeError(
        await oneFileOutput(await openOneFile(path), expectedOf.models[name]!),
        values(expectedTensor(`${name}.output`)),
      );
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  for (const [name, quantize] of [
    ["q8_0", 8],
    ["q5_1", 5],
    ["q5_0", 8],
    ["q4_1", 4],
    ["q4_0", 6],
  ] as const)
    test(`GGUF, ${name}, its blocks kept with ${quantize} bits`, async () => {
      const model = await openOneFile(oneFile(`${name}.gguf`), { quantize });
      const found = await oneFileOutput(model, expectedOf.models[name]!);
      const error = relativeError(found, values(expectedTensor(`${name}.output`)));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  test("GGUF, Q4_K and Q5_K kept with rounded scales, and the other types quantized", async () => {
    const exact = values(expectedTensor("k-types.output"));
    const errorAt = async (quantize: 5 | 8): Promise<number> => {
      const model = await openOneFile(oneFile("k-types.gguf"), { quantize });
      return relativeError(await oneFileOutput(model, expectedOf.models["k-types"]!), exact);
    };
    const [fine, coarse] = [await errorAt(8), await errorAt(5)];
    assert.ok(fine > 1e-5 && fine < 5e-3, `relative error ${fine}`);
    assert.ok(coarse < 5e-2, `relative error ${coarse}`);
  });

  for (const prefix of ["model.diffusion_model.", "diffusion_model.", "transformer."])
    test(`with the prefix ${prefix}, next to other networks`, async () => {
      const path = await changed("bfl", (key, tensor) => [
        [prefix + key, tensor],
        ["vae.decoder.conv_in.weight", ones([1])],
        ["text_encoders.clip_l.transformer.x", ones([1])],
      ]);
      const hashes = hashesOf((await open(path)).denoiser!.open());
      assert.deepEqual(Object.entries(hashes).sort(), Object.entries(expectedOf.sha256.bfl!).sort());
    });

  test("with diffusers' names", async () => {
    const tensors = new Map((await open(oneFile("bfl.safetensors"))).denoiser!.open().tensors());
    const path = join(folder(), "diffusers.safetensors");
    await saveSafetensors(path, tensors);
    const hashes = hashesOf((await open(path)).denoiser!.open());
    assert.deepEqual(Object.entries(hashes).sort(), Object.entries(expectedOf.sha256.bfl!).sort());
  });
});

describe("a generation with a transformer in one file", () => {
  for (const name of ["bfl", "fp8-scaled"])
    test(`has the latents of diffusers: ${name}`, async () => {
      using flux = await FluxDepth.load({
        model: oneFile(`${name}.safetensors`),
        componentsFrom: "tiny-world",
        quantize: "none",
        dtype: "float32",
      });
      const { arrays } = loadSafetensors(oneFile("inputs-mini.safetensors"));
      const { latents, metadata } = await flux.generate({
        prompt: "mountains covered in snow, at night",
        depthImage: exampleImage("mountains_depth.png"),
        width: 256,
        height: 256,
        steps: 4,
        guidance: 10,
        latents: values(arrays.get("noise")!),
      });
      const error = relativeError(latents.data, values(expectedTensor(`${name}.latents`)));
      assert.ok(error < 2e-5, `relative error ${error}`);
      assert.equal(metadata.model, `${name}.safetensors`);
      assert.deepEqual(flux.notes, ["All other components are those of tiny-world."]);
    });

  test("quantizes while reading", async () => {
    const exact = values(expectedTensor("fp8-scaled.output"));
    const model = await openOneFile(oneFile("fp8-scaled.safetensors"), { quantize: 8 });
    const error = relativeError(await oneFileOutput(model, "mini"), exact);
    assert.ok(error > 1e-4 && error < 5e-2, `relative error ${error}`);
    const plain = await openOneFile(oneFile("fp8-scaled.safetensors"));
    const [quantized, whole] = [model, plain].map(({ components }) => components.transformer!.size().bytes);
    assert.ok(quantized! < 0.4 * whole!, `${quantized} bytes of ${whole}`);
  });

  for (const [name, quantize] of [
    ["k-types.gguf", 4],
    ["k-types.gguf", "none"],
    ["q4_0.gguf", 8],
    ["q8_0.gguf", 4],
    ["q8_0.gguf", 8],
    ["fp8-scaled.safetensors", 4],
  ] as const)
    test(`takes no more memory to load than planned: ${name} at ${quantize}`, async () => {
      const component = (await openOneFile(oneFile(name), { quantize })).components.transformer!;
      await requirePlannedPeak(component);
    });

  test("can be saved as a whole model", async () => {
    const path = join(folder(), "saved");
    const model = oneFile("bfl.safetensors");
    await saveModel({ model, componentsFrom: "tiny-world", quantize: 8, path });
    using saved = await FluxDepth.load({ model: path, dtype: "float32", int8: false });
    using direct = await FluxDepth.load({
      model,
      componentsFrom: "tiny-world",
      quantize: 8,
      dtype: "float32",
      int8: false,
    });
    const [one, other] = [await saved.generate(smallRequest), await direct.generate(smallRequest)];
    // Saving rounds what is not quantized to bfloat16, which the file has already.
    assert.ok(relativeError(one.latents.data, other.latents.data) < 2e-2);
    const config = JSON.parse(readFileSync(join(path, "transformer/config.json"), "utf8"));
    assert.equal(config.num_attention_heads, 2);
  });
});

describe("a transformer in one file is refused", () => {
  const refuse = async (path: string, message: RegExp): Promise<void> =>
    assert.rejects(open(path), modelError(message));
  const withInputs = (columns: number) => (key: string, tensor: MxArray) =>
    key === "img_in.weight"
      ? ([[key, slice(ones([64, 1000]), [null, [0, columns]])]] as const)
      : ([[key, tensor]] as const);

  test("if it is FLUX.1 dev, Fill or unknown", async () => {
    await refuse(
      await changed("bfl", withInputs(64)),
      /this is FLUX\.1 dev or schnell, which takes no depth map/,
    );
    await refuse(await changed("bfl", withInputs(384)), /this is FLUX\.1 Fill, which takes a mask/);
    await refuse(
      await changed("bfl", withInputs(100)),
      /in_channels is 100, which belongs to an unknown model/,
    );
  });

  test("if it is another network", async () => {
    const path = join(folder(), "other.safetensors");
    await saveSafetensors(path, new Map([["conv_in.weight", ones([4, 4])]]));
    await refuse(
      path,
      /this is not FLUX\.1's transformer: it has neither "img_in\.weight" nor "x_embedder\.weight"/,
    );
  });

  test("if it does not say how its heads are divided", async () => {
    const path = await changed("bfl", (key, tensor) => [
      [key, key.endsWith("_norm.scale") ? slice(tensor, [[0, 16]]) : tensor],
    ]);
    await refuse(path, /its heads are 16 wide, and the file does not say how their axes are divided$/);
  });

  for (const [suffix, message] of [
    [
      "wscales",
      /quantized for Nunchaku \(SVDQuant\), whose 4-bit weights only its own CUDA kernels multiply/,
    ],
    ["absmax", /quantized by bitsandbytes/],
    ["qzeros", /quantized by GPTQ or AWQ/],
  ] as const)
    test(`if it has ${suffix}`, async () => {
      const path = await changed("bfl", (key, tensor) => [
        [key, tensor],
        [`single_blocks.0.linear1.${suffix}`, ones([1])],
      ]);
      await refuse(path, message);
    });

  test("if ComfyUI quantized it to another format", async () => {
    const layers = { "single_blocks.0.linear1": { format: "nvfp4" } };
    const inMetadata = await changed("bfl", (key, tensor) => [[key, tensor]], {
      _quantization_metadata: JSON.stringify({ format_version: "1.0", layers }),
    });
    await refuse(inMetadata, /single_blocks\.0\.linear1 is quantized as nvfp4, which is not read/);
    const marker = array(new Uint8Array(Buffer.from(JSON.stringify({ format: "int8_tensorwise" }))), {
      dtype: "uint8",
    });
    const marked = await changed("bfl", (key, tensor) => [
      [key, tensor],
      ["single_blocks.0.linear1.comfy_quant", marker],
    ]);
    await refuse(marked, /quantized as int8_tensorwise, which is not read/);
  });

  test("if a scale has no weight, or is not a single number", async () => {
    const lonely = await changed("bfl", (key, tensor) => [
      [key, tensor],
      ["single_blocks.7.linear1.scale_weight", ones([1])],
    ]);
    await refuse(lonely, /is a scale, but its weight single_blocks\.7\.linear1\.weight is missing/);
    const rows = await changed("bfl", (key, tensor) => [
      [key, tensor],
      ["single_blocks.0.linear1.weight_scale", ones([448])],
    ]);
    await refuse(rows, /is F32 \[448\]; expected one number in float32 for each weight/);
  });

  test("if a layer is marked as quantized and has no scale", async () => {
    const path = await changed("fp8-comfy-quant", (key, tensor) =>
      key.endsWith("single_blocks.0.linear1.weight_scale") ? [] : [[key, tensor]],
    );
    await refuse(
      path,
      /the scale of the quantized layer "model\.diffusion_model\.single_blocks\.0\.linear1" is missing/,
    );
  });

  test("if a tensor of no known network lies next to it", async () => {
    const path = await changed("bfl", (key, tensor) => [
      [`model.diffusion_model.${key}`, tensor],
      ["extra.weight", ones([1])],
    ]);
    const model = await openOneFile(path);
    await assert.rejects(
      model.components.transformer!.get(),
      modelError(/tensor "extra\.weight" does not belong to this model/),
    );
  });

  test("if a tensor occurs with the prefix and without", async () => {
    const path = await changed("bfl", (key, tensor) => [
      [`model.diffusion_model.${key}`, tensor],
      ...(key === "img_in.bias" ? ([[key, ones([64])]] as const) : []),
    ]);
    await refuse(path, /"img_in\.bias" occurs with the prefix model\.diffusion_model\. and without/);
  });

  test("if it has a layer fused and in parts", async () => {
    const path = await changed("bfl", (key, tensor) => [
      [key, tensor],
      ...(key === "img_in.bias" ? ([["x_embedder.bias", ones([64])]] as const) : []),
    ]);
    const files = await open(path);
    assert.throws(() => files.denoiser!.open(), modelError(/and another one are both x_embedder\.bias/));
  });

  test("if a tensor has other rows than its parts", async () => {
    const path = await changed("bfl", (key, tensor) => [
      [key, key === "single_blocks.1.linear1.bias" ? ones([447]) : tensor],
    ]);
    const files = await open(path);
    assert.throws(() => files.denoiser!.open(), modelError(/has the shape \[447\]; expected 448 rows/));
  });

  test("if the other components belong to another model", async () => {
    const path = await changed("bfl", (key, tensor) => [
      [key, key === "txt_in.weight" ? ones([64, 96]) : tensor],
    ]);
    await assert.rejects(
      openOneFile(path),
      modelError(/joint_attention_dim is 96, but text_encoder_2's d_model is 128/),
    );
  });
});
