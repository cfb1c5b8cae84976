import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { loadSafetensors, type MxArray, reshape, saveSafetensors } from "@mflux-depth/mlx";
import { openVaeFile } from "../../../src/families/flux1-depth/vae-file.js";
import { openCheckpoint } from "../../../src/weights/checkpoint.js";
import { folderPerTest } from "../../support/folders.js";
import { modelError } from "../../support/hub-fixture.js";
import { hashesOf, oneFile } from "../../support/one-file.js";
import { bundled, digest, loadTinyWorld, smallRequest } from "../../support/tiny-world.js";

const folder = folderPerTest("mflux-depth-vae-file");
const original = join(bundled, "vae/diffusion_pytorch_model.safetensors");

/** The name of Black Forest Labs' autoencoder for a tensor of the bundled one, which has four blocks. */
function theirName(name: string): string {
  const [coder, place, index, ...rest] = name.split(".") as [string, string, string, ...string[]];
  const tail = rest.join(".");
  switch (place) {
    case "conv_norm_out":
      return `${coder}.norm_out.${index}`;
    case "mid_block":
      if (index === "resnets") return `${coder}.mid.block_${Number(rest[0]) + 1}.${rest.slice(1).join(".")}`;
      return `${coder}.mid.attn_1.${rest
        .slice(1)
        .join(".")
        .replace("group_norm", "norm")
        .replace("to_out.0", "proj_out")
        .replace(/^to_/, "")}`;
    case "down_blocks":
    case "up_blocks": {
      const [way, block] = place === "down_blocks" ? ["down", Number(index)] : ["up", 3 - Number(index)];
      const inner = tail
        .replace("resnets", "block")
        .replace("conv_shortcut", "nin_shortcut")
        .replace(/(down|up)samplers\.0/, "$1sample");
      return `${coder}.${way}.${block}.${inner}`;
    }
    default:
      return name;
  }
}

/** The bundled autoencoder as Black Forest Labs write it. */
async function theirFile(): Promise<string> {
  const path = join(folder(), "ae.safetensors");
  const tensors = [...loadSafetensors(original).arrays].map(([name, tensor]): [string, MxArray] => [
    theirName(name),
    /attentions.*to_.*weight$/.test(name) ? reshape(tensor, [...tensor.shape, 1, 1]) : tensor,
  ]);
  await saveSafetensors(path, new Map(tensors));
  return path;
}

describe("the VAE in a separate file", () => {
  test("has the tensors of diffusers, from Black Forest Labs' names", async () => {
    const path = await theirFile();
    const { arrays } = loadSafetensors(path);
    for (const name of [
      "encoder.down.3.block.0.norm1.weight",
      "encoder.down.0.downsample.conv.weight",
      "decoder.up.0.block.0.nin_shortcut.weight",
      "decoder.mid.attn_1.proj_out.bias",
    ])
      assert.ok(arrays.has(name), name);
    assert.deepEqual(
      Object.entries(hashesOf(openVaeFile(path))).sort(),
      Object.entries(hashesOf(openCheckpoint(join(bundled, "vae")))).sort(),
    );
  });

  for (const [names, file] of [
    ["Black Forest Labs'", theirFile],
    ["diffusers'", async () => original],
  ] as const)
    test(`gives the same image with ${names} names`, async () => {
      using plain = await loadTinyWorld();
      using other = await loadTinyWorld({ vae: await file() });
      assert.equal(digest(await other.generate(smallRequest)), digest(await plain.generate(smallRequest)));
    });

  test("is refused when it is another network", async () => {
    using wrong = await loadTinyWorld({ vae: oneFile("t5.gguf") });
    await assert.rejects(
      wrong.generate(smallRequest),
      modelError(/t5\.gguf: tensor .* (is missing|does not belong)/),
    );
  });
});
