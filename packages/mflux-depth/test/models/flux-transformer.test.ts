import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import {
  array,
  astype,
  concatenate,
  type DType,
  defaultDevice,
  full,
  loadSafetensors,
  type MxArray,
  memory,
  random,
  slice,
  take,
} from "@mflux-depth/mlx";
import { LoadError, randomize, runStages } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import {
  embeddedGuidance,
  embeddedTimestep,
  rotaryTables,
  sinusoid,
} from "../../src/models/flux-conditioning.js";
import {
  FluxTransformer,
  type FluxTransformerConfig,
  type FluxTransformerInputs,
  fluxTransformerConfig,
} from "../../src/models/flux-transformer.js";
import type { Matrix } from "../support/float64.js";
import { PlainFluxTransformer } from "../support/plain-flux-transformer.js";
import { at, relativeError, values } from "../support/tensors.js";

const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(at(path), "utf8"));

const folder = "models/tiny-world/transformer";
const tinyConfig = fluxTransformerConfig(json(`${folder}/config.json`), "config.json");
const weights = (): Map<string, MxArray> =>
  loadSafetensors(at(`${folder}/diffusion_pytorch_model.safetensors`)).arrays;

async function tinyWorld(dtype: DType = "float32"): Promise<FluxTransformer> {
  const model = new FluxTransformer(tinyConfig);
  await model.load(weights(), { dtype });
  return model;
}

/** A forward pass of diffusers, whose tensors are in `golden/`. */
interface Golden {
  batch: number;
  rows: number;
  columns: number;
  timestep: number;
  guidance: number;
}
const cases = json("test/golden/index.json").transformer as Golden[];

function golden(index: number): {
  inputs: FluxTransformerInputs;
  output: Float32Array;
  imgIds: Float32Array;
} {
  const { rows, columns, timestep, guidance } = cases[index]!;
  const { arrays } = loadSafetensors(at(`test/golden/transformer_${index}.safetensors`));
  const tensor = (name: string): MxArray => arrays.get(name)!;
  const encoderHiddenStates = tensor("encoder_hidden_states");
  return {
    inputs: {
      hiddenStates: tensor("hidden_states"),
      encoderHiddenStates,
      pooledProjections: tensor("pooled_projections"),
      timestep,
      guidance,
      rotary: rotaryTables(tinyConfig, { rows, columns, textTokens: encoderHiddenStates.shape[1]! }),
    },
    output: values(tensor("output")),
    imgIds: values(tensor("img_ids")),
  };
}

// Torch and MLX differ by 8e-7 on the CPU. Mistakes in porting start at 2e-6.
const tolerance = defaultDevice() === "cpu" ? 1.8e-6 : 2e-5;

describe("the FLUX transformer agrees with diffusers", () => {
  let model: FluxTransformer;
  before(async () => {
    model = await tinyWorld();
  });
  for (const [index, { rows, columns, timestep, guidance }] of cases.entries()) {
    test(`for ${rows} × ${columns} tokens, timestep ${timestep}, guidance ${guidance}`, () => {
      const { inputs, output } = golden(index);
      const error = relativeError(values(model.forward(inputs)), output);
      assert.ok(error <= tolerance, `relative error ${error}`);
    });
  }

  test("about the positions of image tokens: (0, row, column)", () => {
    for (const [index, { rows, columns }] of cases.entries()) {
      const expected = Array.from({ length: rows * columns }, (_, i) => [
        0,
        Math.floor(i / columns),
        i % columns,
      ]);
      assert.deepEqual([...golden(index).imgIds], expected.flat());
    }
  });
});

describe("the FLUX transformer", () => {
  let model: FluxTransformer;
  before(async () => {
    model = await tinyWorld();
  });

  for (const every of [1, 4])
    test(`gives the same in stages as at once, evaluated after every ${every}`, async () => {
      const { inputs } = golden(0);
      const once = values(model.forward(inputs));
      assert.deepEqual(values(await runStages(model.stages(inputs), { every })), once);
    });

  test("yields after each block", () => {
    const { inputs } = golden(0);
    let blocks = 0;
    for (const held of model.stages(inputs)) blocks += held.length > 0 ? 1 : 0;
    assert.equal(blocks, model.blocks);
  });

  test("leaves nothing in memory when it is aborted between blocks", async () => {
    const { inputs } = golden(0);
    const before = memory.liveHandles();
    const abort = new AbortController();
    const running = runStages(model.stages(inputs), { signal: abort.signal });
    setImmediate(() => abort.abort(new Error("enough")));
    await assert.rejects(running, /enough/);
    assert.ok(memory.liveHandles() <= before);
  });

  test("computes in bfloat16, close to float32", async () => {
    using half = await tinyWorld("bfloat16");
    const { inputs, output } = golden(0);
    const out = half.forward(inputs);
    assert.equal(out.dtype, "bfloat16");
    const error = relativeError(values(out), output);
    assert.ok(error > 1e-4 && error < 0.1, `relative error ${error}`);
  });

  test("quantized to 8 bits, stays close to float32", async () => {
    using quantized = new FluxTransformer(tinyConfig);
    await quantized.load(weights(), { dtype: "float32", quantization: { bits: 8 } });
    const { inputs, output } = golden(0);
    const error = relativeError(values(quantized.forward(inputs)), output);
    assert.ok(error > 1e-4 && error < 0.02, `relative error ${error}`);
  });
});

const oddConfig: FluxTransformerConfig = {
  inChannels: 10,
  outChannels: 6,
  numLayers: 2,
  numSingleLayers: 1,
  attentionHeadDim: 10,
  numAttentionHeads: 3,
  jointAttentionDim: 14,
  pooledProjectionDim: 9,
  guidanceEmbeds: true,
  axesDimsRope: [2, 6, 2],
};

function oddModel(config: FluxTransformerConfig, scale: number): FluxTransformer {
  const model = new FluxTransformer(config);
  using key = random.key(7);
  randomize(model, key, scale);
  return model;
}

const oddSize = { rows: 3, columns: 5, textTokens: 4 };

function oddInputs(config: FluxTransformerConfig, scale = 1): FluxTransformerInputs {
  const draw = (shape: number[], seed: number): MxArray =>
    random.normal(shape, { key: random.key(seed), scale });
  return {
    hiddenStates: draw([1, 15, config.inChannels], 1),
    encoderHiddenStates: draw([1, 4, config.jointAttentionDim], 2),
    pooledProjections: draw([1, config.pooledProjectionDim], 3),
    // Small angles: the rounding to float32 that belongs to large ones is not in the plain loops.
    timestep: 0.004,
    guidance: 0.002,
    rotary: rotaryTables(config, oddSize),
  };
}

function matrix(a: MxArray): Matrix {
  const [, rows, columns] = a.shape as [number, number, number];
  const flat = values(a);
  return Array.from({ length: rows }, (_, i) => Array.from(flat.subarray(i * columns, (i + 1) * columns)));
}

describe("the FLUX transformer at another size", () => {
  // With small weights, the RMS of vectors under the norms is near the square root of eps, where a wrong eps shows.
  for (const [scale, bound] of [
    [0.2, 3e-6],
    [0.005, 1e-6],
  ] as const)
    for (const guidanceEmbeds of [true, false]) {
      test(`agrees with plain loops: weights of ${scale}, guidance ${guidanceEmbeds}`, () => {
        const config = { ...oddConfig, guidanceEmbeds };
        const model = oddModel(config, scale);
        const inputs = oddInputs(config, scale < 0.1 ? 0.1 : 1);
        const expected = new PlainFluxTransformer(model, config).forward(
          matrix(inputs.hiddenStates),
          matrix(inputs.encoderHiddenStates),
          Array.from(values(inputs.pooledProjections)),
          { timestep: inputs.timestep, guidance: inputs.guidance, columns: oddSize.columns },
        );
        const error = relativeError(values(model.forward(inputs)), expected.flat());
        assert.ok(error <= bound, `relative error ${error}`);
      });
    }

  const model = oddModel(oddConfig, 0.2);
  const inputs = oddInputs(oddConfig);
  const output = values(model.forward(inputs));

  test("ignores the order of text tokens", () => {
    const shuffled = array([2, 0, 3, 1], { dtype: "int32" });
    const text = take(inputs.encoderHiddenStates, shuffled, 1);
    const same = values(model.forward({ ...inputs, encoderHiddenStates: text }));
    assert.ok(relativeError(same, output) <= 1e-5);
  });

  test("depends on the positions of image tokens", () => {
    const rotary = rotaryTables(oddConfig, { ...oddSize, rows: 5, columns: 3 });
    assert.ok(relativeError(values(model.forward({ ...inputs, rotary })), output) > 1e-3);
  });

  test("computes the images of a batch independently", () => {
    const other = oddInputs(oddConfig, 2);
    const both = model.forward({
      ...inputs,
      hiddenStates: concatenate([inputs.hiddenStates, other.hiddenStates]),
      encoderHiddenStates: concatenate([inputs.encoderHiddenStates, other.encoderHiddenStates]),
      pooledProjections: concatenate([inputs.pooledProjections, other.pooledProjections]),
    });
    assert.ok(relativeError(values(slice(both, [[0, 1]])), output) <= 1e-5);
    assert.ok(relativeError(values(slice(both, [[1, 2]])), values(model.forward(other))) <= 1e-5);
  });

  test("depends on the guidance if it embeds guidance", () => {
    assert.ok(relativeError(values(model.forward({ ...inputs, guidance: 0.009 })), output) > 1e-3);
  });

  test("ignores the guidance if it does not embed guidance", () => {
    const without = oddModel({ ...oddConfig, guidanceEmbeds: false }, 0.2);
    assert.deepEqual(
      values(without.forward({ ...inputs, guidance: 0.009 })),
      values(without.forward(inputs)),
    );
  });

  test("in float16, clips the text stream and single blocks to the range", () => {
    const half = oddModel(oddConfig, 0.05);
    const [block] = half.transformerBlocks;
    const [single] = half.singleTransformerBlocks;
    const overflowing = [
      block!.ffContext.net[2],
      block!.norm1Context.linear,
      single!.projOut,
      single!.norm.linear,
    ];
    for (const linear of overflowing) linear.replace("bias", full(linear.bias!.shape, 600));
    const narrow = new Map([...half.parameters()].map(([name, a]) => [name, astype(a, "float16")]));
    for (const [prefix, layer] of half.modules())
      for (const [name] of layer.ownParameters())
        layer.replace(name, narrow.get(prefix ? `${prefix}.${name}` : name)!);
    const out = half.forward(inputs);
    assert.equal(out.dtype, "float16");
    assert.ok(values(out).every(Number.isFinite));
  });
});

describe("time and guidance are embedded", () => {
  test("in float32 as a thousand times the value", () => {
    assert.equal(embeddedTimestep(0.7, "float32"), Math.fround(Math.fround(0.7) * 1000));
    assert.equal(embeddedGuidance(10, "float32"), 10000);
  });

  test("in bfloat16 rounded as in diffusers", () => {
    assert.equal(embeddedTimestep(0.92238, "bfloat16"), 924);
    assert.equal(embeddedGuidance(10, "bfloat16"), 9984);
    assert.equal(embeddedGuidance(3.5, "bfloat16"), 3504);
    assert.equal(embeddedTimestep(1, "bfloat16"), 1000);
  });

  test("as cosines, then sines, at frequencies from 1 to almost 1/10000", () => {
    const wave = sinusoid(2);
    assert.equal(wave.length, 256);
    assert.equal(wave[0], Math.fround(Math.cos(2)));
    assert.equal(wave[128], Math.fround(Math.sin(2)));
    assert.ok(Math.abs(wave[255]! - Math.sin(2 * 10000 ** (-127 / 128))) < 1e-7);
  });
});

describe("loading the FLUX transformer", () => {
  /** The error of loading weights after a change. */
  const failure = async (change: (tensors: Map<string, MxArray>) => void): Promise<LoadError> => {
    const tensors = weights();
    change(tensors);
    try {
      await new FluxTransformer(tinyConfig).load(tensors);
    } catch (error) {
      assert.ok(error instanceof LoadError);
      return error;
    }
    return assert.fail("loading must fail");
  };

  test("names a tensor that is missing", async () => {
    const { missing } = await failure((tensors) => {
      tensors.delete("single_transformer_blocks.4.attn.norm_k.weight");
    });
    assert.deepEqual(missing, ["singleTransformerBlocks.4.attn.normK.weight"]);
  });

  test("names a tensor that does not belong to it", async () => {
    const { unexpected } = await failure((tensors) => {
      tensors.set("transformer_blocks.9.attn.to_q.weight", full([1], 0));
    });
    assert.deepEqual(unexpected, ["transformer_blocks.9.attn.to_q.weight"]);
  });

  test("names a tensor of another shape, and the shape that it expects", async () => {
    const { misshapen } = await failure((tensors) => {
      tensors.set("x_embedder.weight", full([192, 64], 0));
    });
    assert.deepEqual(
      misshapen.map(({ name, expected }) => [name, expected]),
      [["x_embedder.weight", "floating [192, 128]"]],
    );
  });
});

describe("the config of a FLUX transformer", () => {
  test("has diffusers' defaults", () => {
    assert.deepEqual(fluxTransformerConfig({}, "config.json"), {
      inChannels: 64,
      outChannels: 64,
      numLayers: 19,
      numSingleLayers: 38,
      attentionHeadDim: 128,
      numAttentionHeads: 24,
      jointAttentionDim: 4096,
      pooledProjectionDim: 768,
      guidanceEmbeds: false,
      axesDimsRope: [16, 56, 56],
    });
  });

  test("has as many output channels as input channels unless it says otherwise", () => {
    assert.equal(
      fluxTransformerConfig({ in_channels: 128, out_channels: null }, "config.json").outChannels,
      128,
    );
  });

  for (const [name, config, message] of [
    ["a list", [], /not a JSON object/],
    ["the config of another network", { _class_name: "UNet2DConditionModel" }, /"UNet2DConditionModel"/],
    ["zero blocks", { num_layers: 0 }, /"num_layers" is 0/],
    ["a number as text", { num_layers: "19" }, /"num_layers" is "19"/],
    ["a flag as number", { guidance_embeds: 1 }, /"guidance_embeds" is 1/],
    ["patches", { patch_size: 2 }, /"patch_size" is 2/],
    ["two axes", { axes_dims_rope: [16, 56] }, /three even numbers/],
    [
      "axes that do not fill a head",
      { axes_dims_rope: [16, 56, 54] },
      /adds up to 126, but "attention_head_dim" is 128/,
    ],
  ] as const)
    test(`refuses ${name}`, () => {
      assert.throws(
        () => fluxTransformerConfig(config, "a/config.json"),
        (error) =>
          error instanceof ModelError && error.source === "a/config.json" && message.test(error.message),
      );
    });
});
