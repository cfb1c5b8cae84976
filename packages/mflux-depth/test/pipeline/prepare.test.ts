import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { add, type MxArray, matmul, memory, multiply, random, scope } from "@mflux-depth/mlx";
import { Adapter, type Linear, LowRank } from "@mflux-depth/mlx/nn";
import { type FluxTransformer, rotaryTables } from "../../src/models/flux-transformer.js";
import { resolveLoadOptions } from "../../src/options/index.js";
import { findModel, type Model, type OpenOptions, openModel } from "../../src/pipeline/model.js";
import { relativeError, values } from "../support/tensors.js";

const rank = 4;
const scale = -0.75;

async function open(
  options: { quantize?: 4 | "none" },
  prepare: NonNullable<OpenOptions["prepare"]>,
): Promise<Model> {
  const resolved = resolveLoadOptions({ model: "tiny-world", dtype: "float32", int8: false, ...options });
  const { files } = await findModel(resolved);
  return openModel(files, resolved, "cpu", { prepare });
}

const adaptedLayer = (transformer: FluxTransformer): Linear => transformer.transformerBlocks[0]!.attn.toQ;

/** The matrices of a low-rank addition to a layer, the same each time. */
function lowRank({ rows, columns }: Linear): { a: MxArray; b: MxArray } {
  return scope(() => ({
    a: multiply(random.normal([rank, columns], { key: random.key(1) }), 0.1),
    b: multiply(random.normal([rows, rank], { key: random.key(2) }), 0.1),
  }));
}

function attachAdapter(transformer: FluxTransformer): void {
  const layer = adaptedLayer(transformer);
  const { a, b } = lowRank(layer);
  layer.attach(new Adapter(new LowRank(a, b), { scale }));
}

/** Replaces the weight by `W + scale · B A`. */
function mergeAdapter(transformer: FluxTransformer): void {
  const layer = adaptedLayer(transformer);
  const before = layer.weight;
  layer.weight = scope(() => {
    const { a, b } = lowRank(layer);
    return add(before, multiply(matmul(b, a), scale));
  });
  before.dispose();
}

/** The velocity that a model's transformer predicts for fixed inputs. */
async function velocityOf({ components, configs }: Model): Promise<Float32Array> {
  const transformer = await components.transformer.get();
  const { inChannels, jointAttentionDim, pooledProjectionDim } = configs.transformer;
  const found = scope(() =>
    transformer.forward({
      hiddenStates: random.normal([1, 16, inChannels], { key: random.key(3) }),
      encoderHiddenStates: random.normal([1, 8, jointAttentionDim], { key: random.key(4) }),
      pooledProjections: random.normal([1, pooledProjectionDim], { key: random.key(5) }),
      timestep: 0.5,
      guidance: 10,
      rotary: rotaryTables(configs.transformer, { rows: 4, columns: 4, textTokens: 8 }),
    }),
  );
  const result = Float32Array.from(values(found));
  found.dispose();
  components.transformer.free();
  return result;
}

describe("preparing a component between loading and its first use", () => {
  test("attaches an adapter that acts like the merged weights", async () => {
    const plain = await velocityOf(await open({ quantize: "none" }, {}));
    const adapted = await velocityOf(await open({ quantize: "none" }, { transformer: attachAdapter }));
    const merged = await velocityOf(await open({ quantize: "none" }, { transformer: mergeAdapter }));
    assert.ok(relativeError(adapted, merged) < 2e-6);
    assert.ok(relativeError(adapted, plain) > 1e-3, "the adapter changes the result");
  });

  test("attaches adapters to quantized weights", async () => {
    const plain = await velocityOf(await open({ quantize: 4 }, {}));
    const adapted = await velocityOf(await open({ quantize: 4 }, { transformer: attachAdapter }));
    assert.ok(relativeError(adapted, plain) > 1e-3);
  });

  test("happens each time that weights are loaded", async () => {
    let count = 0;
    const model = await open({}, { vae: () => void count++ });
    for (const expected of [1, 2]) {
      await model.components.vae.get();
      model.components.vae.free();
      assert.equal(count, expected);
    }
  });

  test("frees the component when it fails", async () => {
    const handles = memory.liveHandles();
    const model = await open(
      {},
      {
        transformer() {
          throw new Error("this adapter does not fit");
        },
      },
    );
    await assert.rejects(model.components.transformer.get(), /this adapter does not fit/);
    assert.equal(memory.liveHandles(), handles);
  });
});
