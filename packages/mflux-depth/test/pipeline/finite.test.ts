import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { full } from "@mflux-depth/mlx";
import { ModelError } from "../../src/errors.js";
import { componentNames } from "../../src/families/flux1-depth/layout.js";
import { type FluxDepthOptions, saveModel } from "../../src/index.js";
import { copyModel, plant, rewriteTensors, someTensor, weights } from "../support/damaged-models.js";
import { folderPerTest } from "../support/folders.js";
import { failsWith } from "../support/refusals.js";
import { inMemory, loadTinyWorld, logLoads, smallRequest } from "../support/tiny-world.js";

const currentFolder = folderPerTest("finite");

/** A matrix of each component whose width allows groups of 64. */
const quantizedTensor = { ...someTensor, vae: "decoder.mid_block.attentions.0.to_q.weight" };

/** A copy of the bundled model with one value replaced in one component. */
async function modelWith(component: (typeof componentNames)[number], value: number): Promise<string> {
  const { folder, file } = copyModel(currentFolder(), weights[component]);
  await plant(file, someTensor[component], value);
  return folder;
}

async function generateWith(model: string, options: FluxDepthOptions = {}): Promise<void> {
  using flux = await loadTinyWorld({ model, ...options });
  await flux.generate({ ...smallRequest, width: 32, height: 32 });
}

describe("a generation with a NaN among the weights fails, naming the stage, the values and the tensor, of", () => {
  const cases = {
    text_encoder:
      /the stage text failed: the pooled embeddings are not .*tensor "encoder\.layers\.1\.mlp\.fc1\.weight"/,
    text_encoder_2: /the stage text failed: the prompt embeddings are not .*tensor "encoder\.block\.1\./,
    transformer:
      /the stage denoise failed: the latents after step 1 of 2 are not .*tensor "singleTransformerBlocks\.3\./,
    vae: /the stage decode failed: the pixels of the decoded image are not .*tensor "decoder\.upBlocks\.2\./,
  };
  for (const [component, message] of Object.entries(cases) as [keyof typeof cases, RegExp][])
    test(component, async () => {
      const folder = await modelWith(component, Number.NaN);
      const baseline = inMemory();
      await assert.rejects(generateWith(folder), (error) => {
        assert.ok(error instanceof ModelError, `${error}`);
        assert.match(error.message, message);
        assert.equal(error.source, join(folder, component));
        return true;
      });
      assert.deepEqual(inMemory(), baseline);
    });
});

describe("a generation that quantizes a model with a NaN fails, naming the tensor of", () => {
  for (const quantize of [4, 8] as const)
    for (const component of componentNames)
      test(`${component}, at ${quantize} bits`, async () => {
        const { folder, file } = copyModel(currentFolder(), weights[component]);
        await plant(file, quantizedTensor[component], Number.NaN);
        await assert.rejects(
          generateWith(folder, { quantize }),
          (error) =>
            error instanceof ModelError &&
            error.message.endsWith(`.weight" of the weights is damaged; get a new copy of the model`),
        );
      });
});

describe("a generation that is not finite although its weights are", () => {
  test("fails with the likely causes", async () => {
    const { folder, file } = copyModel(currentFolder(), weights.transformer);
    await plant(file, "proj_out.weight", 3e38);
    await assert.rejects(
      generateWith(folder),
      /the latents after step \d of 2 are not finite numbers; the weights may be damaged, or guidance 10 is too large/,
    );
  });

  test("also blames given latents", async () => {
    using flux = await loadTinyWorld();
    const latents = new Float32Array(16 * 4 * 4).fill(3e38);
    await assert.rejects(
      flux.generate({ ...smallRequest, width: 32, height: 32, latents }),
      /guidance 10 or the given latents are too large/,
    );
  });
});

describe("a schedule without falling noise levels", () => {
  test("fails before any weights are read", async () => {
    const { folder, file } = copyModel(currentFolder(), "scheduler/scheduler_config.json");
    const config = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...config, base_image_seq_len: config.max_image_seq_len }));
    const log: string[] = [];
    using flux = await loadTinyWorld({ model: folder, ...logLoads(log) });
    await assert.rejects(
      flux.generate(smallRequest),
      (error) =>
        error instanceof ModelError && /scheduler_config\.json: .*do not decrease/.test(error.message),
    );
    assert.deepEqual(log, []);
  });
});

describe("a preview", () => {
  test("fails in the stage that decodes it", async () => {
    using flux = await loadTinyWorld({ model: await modelWith("vae", Number.NaN) });
    const steps = async (): Promise<void> => {
      for await (const _ of flux.steps({ ...smallRequest, previewEvery: 1 }));
    };
    await assert.rejects(steps(), /the stage denoise failed: the pixels of the decoded image/);
  });
});

describe("control latents that are not finite", () => {
  test("fail in the stage control", async () => {
    const { folder, file } = copyModel(currentFolder(), weights.vae);
    await plant(file, "encoder.conv_in.weight", Number.POSITIVE_INFINITY);
    await assert.rejects(
      generateWith(folder),
      /the stage control failed: the latents of the encoded image are not .*tensor "encoder\.convIn\.weight"/,
    );
  });
});

describe("saveModel", () => {
  for (const value of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    test(`refuses ${value}`, async () => {
      const folder = await modelWith("vae", value);
      await failsWith(
        () => saveModel({ model: folder, path: join(currentFolder(), "x") }),
        ModelError,
        /vae: tensor "decoder\..*" of the weights has values that are not finite/,
      );
    });

  test("takes finite values of float16 whose sum exceeds its range", async () => {
    const { folder, file } = copyModel(currentFolder(), weights.transformer);
    await rewriteTensors(file, (arrays) => {
      const { shape } = arrays.get("proj_out.weight")!;
      arrays.set("proj_out.weight", full([...shape], 60_000, "float16"));
    });
    const path = join(currentFolder(), "x");
    assert.equal((await saveModel({ model: folder, path })).path, path);
  });

  for (const quantize of ["none", 4] as const)
    for (const component of componentNames)
      test(`refuses a NaN in ${component} at bits ${quantize}, and leaves nothing`, async () => {
        const folder = await modelWith(component, Number.NaN);
        const parent = join(currentFolder(), "saved");
        mkdirSync(parent);
        const baseline = inMemory();
        await failsWith(
          () => saveModel({ model: folder, quantize, path: join(parent, "x") }),
          ModelError,
          new RegExp(`${component}: tensor ".*" of the weights has values that are not finite`),
        );
        assert.deepEqual(readdirSync(parent), []);
        assert.deepEqual(inMemory(), baseline);
      });
});
