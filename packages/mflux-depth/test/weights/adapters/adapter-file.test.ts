import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { array } from "@mflux-depth/mlx";
import { ModelError } from "../../../src/errors.js";
import { flux1Depth } from "../../../src/families/flux1-depth/index.js";
import { readModelConfigs } from "../../../src/families/model-configs.js";
import { openModelFiles } from "../../../src/families/model-files.js";
import { openAdapterFile } from "../../../src/weights/adapters/adapter-file.js";
import { matchAdapter, requireMatch } from "../../../src/weights/adapters/match.js";
import { adapterFile, rewritten } from "../../support/adapters.js";
import { refused } from "../../support/refusals.js";
import { bundled } from "../../support/tiny-world.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-adapter-file-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const names = flux1Depth.adapterNames(readModelConfigs(openModelFiles(bundled)) as never);

/** Opens and matches a file as loading a model does. */
function open(path: string, lenient = false): void {
  const file = openAdapterFile(path);
  requireMatch(file, matchAdapter(file, names), lenient);
}

describe("an adapter file", () => {
  test("is refused with every key that it does not use", () => {
    const path = adapterFile("strict");
    assert.throws(
      () => open(path),
      (error) => {
        assert.ok(error instanceof ModelError);
        assert.equal(
          error.message,
          `${path}: 2 keys belong to no layer of this model, but may be for a FLUX.1 model with other layers: ` +
            "transformer.transformer_blocks.0.attn.to_gate.lora_A.weight, " +
            "transformer.transformer_blocks.0.attn.to_gate.lora_B.weight; " +
            "1 key has another shape than its layer: " +
            "transformer.transformer_blocks.0.attn.to_k.lora_B.weight is [193, 4], expected [192, 4]",
        );
        assert.equal((error.details.problems as unknown[]).length, 3);
        return true;
      },
    );
    open(path, true);
  });

  test("is refused when a matrix lacks its counterpart", () => {
    const path = adapterFile("incomplete");
    refused(
      () => open(path),
      path,
      /1 key has no counterpart: transformer\.transformer_blocks\.0\.attn\.add_v_proj\.lora_A\.weight lacks lora_B/,
    );
  });

  test("is refused if it contains only alpha or a magnitude", async () => {
    const path = await rewritten("kohya", folder, (key, tensor) =>
      key.includes("lora_up") ? [] : [[key, tensor]],
    );
    refused(() => open(path), path, /lacks lora_B/);
    const alphas = await rewritten("kohya", folder, (key, tensor) =>
      key.endsWith(".alpha") ? [[key, tensor]] : [],
    );
    refused(() => open(alphas), alphas, /lacks the matrices it belongs to/);
  });

  for (const [key, model] of [
    ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "Stable Diffusion 1, 2 or XL"],
    ["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "Stable Diffusion XL or 3"],
    ["diffusion_model.blocks.0.self_attn.q.lora_A.weight", "Wan"],
    ["transformer.transformer_blocks.0.img_mod.1.lora_A.weight", "Qwen-Image"],
    ["transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight", "FLUX.2"],
    ["diffusion_model.layers.0.attention.to_q.lora_A.weight", "Z-Image or Lumina 2"],
    ["transformer.transformer_blocks.19.attn.to_q.lora_A.weight", "a FLUX.1 model with other layers"],
  ] as const)
    test(`for ${model} is refused by name`, async () => {
      let first = true;
      const path = await rewritten("diffusers", folder, (_, tensor) => {
        const taken = first;
        first = false;
        return taken
          ? [
              [key, tensor],
              [key.replace(/lora_A|lora_down/, (a) => (a === "lora_A" ? "lora_B" : "lora_up")), tensor],
            ]
          : [];
      });
      for (const lenient of [false, true])
        assert.throws(() => open(path, lenient), {
          message: `${path}: this adapter is for ${model}, and fits no layer of this model`,
        });
    });

  test("of another kind of adapter is refused with the kind", async () => {
    const path = await rewritten("diffusers", folder, (key, tensor) =>
      key.includes(".0.attn.to_q.lora_A")
        ? [
            [key, tensor],
            [key.replace("lora_A.weight", "oft_blocks"), tensor],
          ]
        : [[key, tensor]],
    );
    refused(() => open(path), path, /may be for OFT, which rotates weights.*to_q\.oft_blocks/);
  });

  test("without adapters is refused", () => {
    const weights = join(bundled, "vae/diffusion_pytorch_model.safetensors");
    refused(() => open(weights), weights, /this is not an adapter: none of its \d+ tensors/);
  });

  test("with integers is refused", async () => {
    const path = await rewritten("diffusers", folder, (key, tensor) => [
      [key, key.includes("to_q.lora_A") ? array(new Int32Array(4 * 192), { shape: [4, 192] }) : tensor],
    ]);
    refused(() => open(path), path, /to_q\.lora_A\.weight" has the dtype I32; adapters are floating-point/);
  });

  test("with two spellings of one tensor is refused", async () => {
    const path = await rewritten("diffusers", folder, (key, tensor) => [
      [key, tensor],
      [key.replace("lora_A", "lora_A.default"), tensor],
    ]);
    refused(() => open(path), path, /are the same part of one layer/);
  });

  test("damaged in any byte of its header is refused: 200 of them", () => {
    const whole = readFileSync(adapterFile("diffusers"));
    const length = Number(whole.readBigUInt64LE());
    const path = join(folder, "damaged.safetensors");
    // A linear congruential generator, so that a failure can be repeated.
    let state = 1;
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * below);
    };
    for (let i = 0; i < 200; i++) {
      const bytes = Buffer.from(whole);
      const at = random(8 + length);
      bytes[at] = (bytes[at]! + 1 + random(255)) % 256;
      writeFileSync(path, bytes);
      assert.throws(
        () => open(path),
        (error) => error instanceof ModelError,
        `byte ${at} as ${bytes[at]}`,
      );
    }
  });

  test("cut anywhere is refused", () => {
    const whole = readFileSync(adapterFile("diffusers"));
    const path = join(folder, "cut.safetensors");
    for (const bytes of [0, 7, 8, 100, 20_000, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, bytes));
      assert.throws(() => open(path), ModelError);
    }
  });
});
