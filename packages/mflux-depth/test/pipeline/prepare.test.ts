import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { add, type MxArray, matmul, memory, multiply, random, scope } from "@mflux-depth/mlx";
import { Adapter, type Linear, LowRank } from "@mflux-depth/mlx/nn";
import {
  FluxDepth,
  type FluxDepthOptions,
  type GenerationResult,
  OptionError,
  type Preparation,
  saveModel,
} from "../../src/index.js";
import type { FluxTransformer } from "../../src/models/flux-transformer.js";
import { resolveLoadOptions } from "../../src/options/index.js";
import { findModel, type Model, openModel } from "../../src/pipeline/model/model.js";
import { folderPerTest } from "../support/folders.js";
import { relativeError } from "../support/tensors.js";
import { digest, loadTinyWorld, smallRequest } from "../support/tiny-world.js";

const currentFolder = folderPerTest("prepare");

const rank = 4;
const scale = -0.75;

const adaptedLayer = (transformer: FluxTransformer): Linear => transformer.transformerBlocks[0]!.attn.toQ;

/** The matrices of a low-rank addition to a layer, the same each time. */
function lowRank({ rows, columns }: Linear): { a: MxArray; b: MxArray } {
  return scope(() => ({
    a: multiply(random.normal([rank, columns], { key: random.key(1) }), 0.1),
    b: multiply(random.normal([rows, rank], { key: random.key(2) }), 0.1),
  }));
}

/** The bundled transformer's layers are 192 wide. */
const adapterBytes = 4 * rank * (192 + 192);

const attachAdapter: Preparation<FluxTransformer> = {
  bytes: adapterBytes,
  apply(transformer) {
    const layer = adaptedLayer(transformer);
    const { a, b } = lowRank(layer);
    layer.attach(new Adapter(new LowRank(a, b), { scale }));
  },
};

/** Replaces the weight by `W + scale · B A`. */
const mergeAdapter: Preparation<FluxTransformer> = {
  // The merged matrix is float32; the stored one, which has 16 bits, goes.
  bytes: 2 * 192 * 192,
  apply(transformer) {
    const layer = adaptedLayer(transformer);
    const merged = scope(() => {
      const { a, b } = lowRank(layer);
      return add(layer.weight, multiply(matmul(b, a), scale));
    });
    layer.replace("weight", merged);
  },
};

const disposables: Disposable[] = [];
afterEach(() => {
  for (const one of disposables.splice(0)) one[Symbol.dispose]();
});

async function generateWith(options: FluxDepthOptions): Promise<GenerationResult> {
  const flux = await loadTinyWorld(options);
  disposables.push(flux);
  return await flux.generate(smallRequest);
}

async function open(prepare: NonNullable<FluxDepthOptions["prepare"]>): Promise<Model> {
  const options = resolveLoadOptions({ model: "tiny-world", quantize: "none", dtype: "float32" });
  const { files } = await findModel(options);
  return openModel(files, options, "cpu", { prepare });
}

describe("preparing a component between loading and its first use", () => {
  test("attaches an adapter that changes the image as the merged weights do", async () => {
    const plain = await generateWith({});
    const adapted = await generateWith({ prepare: { transformer: attachAdapter } });
    const merged = await generateWith({ prepare: { transformer: mergeAdapter } });
    assert.ok(relativeError(adapted.latents.data, merged.latents.data) < 2e-5);
    assert.ok(
      relativeError(adapted.latents.data, plain.latents.data) > 1e-3,
      "the adapter changes the latents",
    );
  });

  test("attaches adapters to quantized weights", async () => {
    const options = { quantize: 4, int8: false } as const;
    const plain = await generateWith(options);
    const adapted = await generateWith({ ...options, prepare: { transformer: attachAdapter } });
    assert.ok(relativeError(adapted.latents.data, plain.latents.data) > 1e-3);
  });

  test("happens each time that weights are loaded", async () => {
    let count = 0;
    const model = await open({ vae: { bytes: 0, apply: () => void count++ } });
    for (const expected of [1, 2]) {
      await model.components.vae!.get();
      model.components.vae!.free();
      assert.equal(count, expected);
    }
  });

  test("gives the same image again after the weights were freed", async () => {
    const flux = await loadTinyWorld({ memory: "low", prepare: { transformer: attachAdapter } });
    disposables.push(flux);
    assert.equal(digest(await flux.generate(smallRequest)), digest(await flux.generate(smallRequest)));
  });

  test("frees the component when it fails", async () => {
    const handles = memory.liveHandles();
    const apply = (): never => {
      throw new Error("this adapter does not fit");
    };
    const model = await open({ transformer: { bytes: 0, apply } });
    await assert.rejects(model.components.transformer!.get(), /this adapter does not fit/);
    assert.equal(memory.liveHandles(), handles);
  });
});

describe("the memory of a preparation", () => {
  test("counts in the size of its component, which covers what the network holds", async () => {
    const plain = (await open({})).components.transformer!.size().bytes;
    const model = await open({ transformer: attachAdapter });
    const planned = model.components.transformer!.size().bytes;
    assert.equal(planned, plain + adapterBytes);

    const before = memory.activeMemory();
    const transformer = (await model.components.transformer!.get()) as FluxTransformer;
    for (const one of adaptedLayer(transformer).adapters[0]!.delta!.arrays) one.toTypedArray();
    const measured = memory.activeMemory() - before;
    model.components.transformer!.free();
    // Each array is rounded up to the allocator's granularity.
    const rounding = 256 * (transformer.parameters().size + 2);
    assert.ok(measured > plain && measured <= planned + rounding, `${measured} measured, ${planned} planned`);
  });

  test("is refused when it exceeds what was announced", async () => {
    const handles = memory.liveHandles();
    const model = await open({ transformer: { ...attachAdapter, bytes: adapterBytes - 1 } });
    await assert.rejects(model.components.transformer!.get(), (error) => {
      assert.ok(error instanceof OptionError);
      assert.match(error.message, /adds 6144 bytes to transformer, but announces 6143/);
      return true;
    });
    assert.equal(memory.liveHandles(), handles);
  });

  test("keeps a generation from starting that would no longer fit", async () => {
    const flux = await loadTinyWorld({ prepare: { vae: { bytes: 1e15, apply() {} } } });
    disposables.push(flux);
    await assert.rejects(flux.generate(smallRequest), { name: "MemoryError" });
  });
});

describe("a preparation", () => {
  test("of a component that the model does not have is refused", async () => {
    await assert.rejects(FluxDepth.load({ model: "tiny-world", prepare: { unet: attachAdapter } }), {
      name: "OptionError",
      message:
        "prepare names the component unet; this model has text_encoder, text_encoder_2, transformer, vae.",
    });
  });

  test("is not saved: saving takes none", async () => {
    const options = { model: "tiny-world", path: currentFolder(), prepare: { transformer: attachAdapter } };
    await assert.rejects(saveModel(options), {
      name: "OptionError",
      message: /There is no option prepare/,
    });
  });
});
