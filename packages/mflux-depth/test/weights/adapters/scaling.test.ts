import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { array, multiply } from "@mflux-depth/mlx";
import { adapterFile, expected, outputWith, rewritten } from "../../support/adapters.js";
import { relativeError } from "../../support/tensors.js";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-scaling-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The adapter "diffusers" of rank 4, with B multiplied by a number and with metadata. */
const multiplied = (times: number, metadata: Readonly<Record<string, string>>): Promise<string> =>
  rewritten(
    "diffusers",
    folder,
    (key, tensor) => [[key, key.includes("lora_B") ? multiply(tensor, times) : tensor]],
    new Map(Object.entries(metadata)),
  );

const isStyle = async (path: string): Promise<void> => {
  const error = relativeError(await outputWith([path]), expected("style"));
  assert.ok(error < 2e-5, `relative error ${error}`);
};

const diffusersMetadata = (config: object): Record<string, string> => ({
  lora_adapter_metadata: JSON.stringify(
    Object.fromEntries(Object.entries(config).map(([key, value]) => [`transformer.${key}`, value])),
  ),
});

describe("the strength of an adapter's layers", () => {
  test("comes from diffusers' metadata", async () => {
    await isStyle(await multiplied(2, diffusersMetadata({ r: 4, lora_alpha: 2 })));
  });

  test("is divided by the root of the rank for rank-stabilized adapters", async () => {
    await isStyle(await multiplied(0.5, diffusersMetadata({ r: 4, lora_alpha: 4, use_rslora: true })));
  });

  test("may differ by layer", async () => {
    const own = diffusersMetadata({ lora_alpha: 1, alpha_pattern: { "attn.to_q": 4 } });
    const path = await rewritten(
      "diffusers",
      folder,
      (key, tensor) => {
        const times = key.includes("lora_B") && !key.includes("attn.to_q") ? 4 : 1;
        return [[key, multiply(tensor, times)]];
      },
      new Map(Object.entries(own)),
    );
    await isStyle(path);
  });

  test("is unknown with regular expressions for layers, which are refused", async () => {
    const config = { lora_alpha: 4, alpha_pattern: { "blocks\\.[0-3]\\..*": 8 } };
    const path = await multiplied(1, diffusersMetadata(config));
    await assert.rejects(outputWith([path]), /alpha_pattern has the regular expression "blocks/);
  });

  test("is rank-stabilized only in the components that say so", async () => {
    const other = { "text_encoder.lora_alpha": 4, "text_encoder.use_rslora": true };
    const own = diffusersMetadata({ lora_alpha: 4 }).lora_adapter_metadata!;
    await isStyle(
      await multiplied(1, { lora_adapter_metadata: JSON.stringify({ ...JSON.parse(own), ...other }) }),
    );
  });

  test("may be a whole number", async () => {
    const path = await rewritten("kohya", folder, (key, tensor) => {
      if (key.endsWith(".alpha")) return [[key, array(Int32Array.of(2), { dtype: "int32", shape: [] })]];
      return [[key, tensor]];
    });
    const floats = await rewritten("kohya", folder, (key, tensor) => [
      [key, key.endsWith(".alpha") ? array(Float32Array.of(2), { shape: [] }) : tensor],
    ]);
    assert.deepEqual(await outputWith([path]), await outputWith([floats]));
  });

  test("comes from PEFT's config next to adapter_model.safetensors", async () => {
    copyFileSync(await multiplied(2, {}), join(folder, "adapter_model.safetensors"));
    writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ r: 4, lora_alpha: 2 }));
    await isStyle(folder);
  });

  test("follows LyCORIS' rs_lora in kohya's metadata", async () => {
    const path = await rewritten(
      "kohya",
      folder,
      (key, tensor) => (key.endsWith(".alpha") ? [] : [[key, tensor]]),
      new Map([["ss_network_args", JSON.stringify({ rs_lora: "True" })]]),
    );
    // Without an alpha, the factor is 1 whatever the rank.
    const plain = await rewritten("kohya", folder, (key, tensor) =>
      key.endsWith(".alpha") ? [] : [[key, tensor]],
    );
    assert.deepEqual(await outputWith([path]), await outputWith([plain]));
    const scaled = await rewritten(
      "outer-kohya-alpha",
      folder,
      (key, tensor) => [[key, tensor]],
      new Map([["ss_network_args", JSON.stringify({ rs_lora: "True" })]]),
    );
    // alpha is half the rank of 4: 2 / √4 instead of 2 / 4.
    const doubled = { source: adapterFile("outer-kohya-alpha"), scale: 2 };
    const error = relativeError(await outputWith([scaled]), await outputWith([doubled]));
    assert.ok(error < 1e-6, `relative error ${error}`);
  });

  test("is unknown with damaged metadata, which is refused", async () => {
    const path = await multiplied(1, { lora_adapter_metadata: "{" });
    await assert.rejects(outputWith([path]), /"lora_adapter_metadata" is not a JSON object/);
  });
});

describe("values", () => {
  test("that are not finite are refused with their layer", async () => {
    const path = await rewritten("diffusers", folder, (key, tensor) => [
      [key, key.includes("blocks.1.attn.to_q.lora_A") ? multiply(tensor, Number.NaN) : tensor],
    ]);
    await assert.rejects(
      outputWith([path]),
      /the layer "transformer\.(single_)?transformer_blocks\.1\.attn\.to_q" has values that are not finite/,
    );
  });
});
