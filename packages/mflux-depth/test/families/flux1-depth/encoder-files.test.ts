import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { runStages } from "@mflux-depth/mlx/nn";
import { openT5File } from "../../../src/families/flux1-depth/encoder-files.js";
import type { T5Encoder } from "../../../src/models/t5.js";
import { resolveLoadOptions } from "../../../src/options/index.js";
import { findModel, openModel } from "../../../src/pipeline/model/model.js";
import { modelError } from "../../support/hub-fixture.js";
import { expectedOf, expectedTensor, hashesOf, oneFile } from "../../support/one-file.js";
import { relativeError, values } from "../../support/tensors.js";
import { bundled, digest, loadTinyWorld, smallRequest } from "../../support/tiny-world.js";

describe("T5 in GGUF", () => {
  const path = oneFile("t5.gguf");

  test("has the tensors of transformers", () => {
    // transformers lists the embeddings under two names.
    const { "encoder.embed_tokens.weight": _, ...tensors } = expectedOf.sha256.t5!;
    assert.deepEqual(Object.entries(hashesOf(openT5File(path))).sort(), Object.entries(tensors).sort());
  });

  for (const [how, quantize] of [
    ["as values", "none"],
    ["as kept blocks", 8],
  ] as const)
    test(`gives the prompt embeddings of transformers, ${how}`, async () => {
      const options = resolveLoadOptions({
        model: "tiny-world",
        textEncoder2: path,
        dtype: "float32",
        quantize,
        int8: false,
      });
      const { files, ownFiles } = await findModel(options);
      const { text_encoder_2: component } = openModel(files, options, "cpu", { ownFiles }).components;
      const t5 = (await component!.get()) as T5Encoder;
      const found = values(await runStages(t5.stages(expectedTensor("t5.t5_ids"))));
      component!.free();
      const error = relativeError(found, values(expectedTensor("t5.prompt_embeds")));
      assert.ok(error < 2e-5, `relative error ${error}`);
    });

  test("takes part in a generation", async () => {
    using plain = await loadTinyWorld();
    using other = await loadTinyWorld({ textEncoder2: path });
    assert.notEqual(plain.fingerprint, other.fingerprint);
    const [one, two] = [await plain.generate(smallRequest), await other.generate(smallRequest)];
    const change = relativeError(two.latents.data, one.latents.data);
    assert.ok(change > 1e-5 && change < 0.2, `${change}`);
  });
});

describe("text encoders in separate safetensors files", () => {
  test("give the same as in the model's folder", async () => {
    using plain = await loadTinyWorld();
    using other = await loadTinyWorld({
      textEncoder: join(bundled, "text_encoder/model.safetensors"),
      textEncoder2: join(bundled, "text_encoder_2/model.safetensors"),
    });
    assert.equal(digest(await other.generate(smallRequest)), digest(await plain.generate(smallRequest)));
  });

  test("are refused if they are of another size, or another network", async () => {
    const clip = join(bundled, "text_encoder/model.safetensors");
    using wrong = await loadTinyWorld({ textEncoder2: clip });
    await assert.rejects(
      wrong.generate(smallRequest),
      modelError(/tensor ".*" (is missing|does not belong)/),
    );
    await assert.rejects(
      loadTinyWorld({ textEncoder2: "missing.gguf" }),
      modelError(/there is no such file/),
    );
  });
});
