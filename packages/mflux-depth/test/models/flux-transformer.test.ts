import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, it } from "node:test";
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
  FluxTransformer,
  type FluxTransformerConfig,
  type FluxTransformerInputs,
  fluxTransformerConfig,
  rotaryTables,
  sinusoid,
} from "../../src/models/flux-transformer.js";
import { at, relativeError, values } from "../support/tensors.js";

const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(at(path), "utf8"));

const folder = "models/tiny-world/transformer";
const tinyConfig = fluxTransformerConfig(json(`${folder}/config.json`));
const weights = (): Map<string, MxArray> =>
  loadSafetensors(at(`${folder}/diffusion_pytorch_model.safetensors`)).arrays;

async function tinyWorld(dtype: DType = "float32"): Promise<FluxTransformer> {
  const model = new FluxTransformer(tinyConfig);
  await model.load(weights(), { dtype });
  return model;
}

interface Case {
  batch: number;
  rows: number;
  columns: number;
  timestep: number;
  guidance: number;
}
const cases = json("test/golden/index.json").transformer as Case[];

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

// The floor between torch and us is 8e-7 on the CPU; the mistakes that ports make start at 2e-6.
const tolerance = defaultDevice() === "cpu" ? 1.8e-6 : 2e-5;

describe("FLUX transformer against diffusers", () => {
  let model: FluxTransformer;
  before(async () => {
    model = await tinyWorld();
  });
  for (const [index, { rows, columns, timestep, guidance }] of cases.entries()) {
    it(`${rows}×${columns} tokens, timestep ${timestep}, guidance ${guidance}`, () => {
      const { inputs, output } = golden(index);
      const error = relativeError(values(model.forward(inputs)), output);
      assert.ok(error <= tolerance, `relative error ${error}`);
    });
  }

  it("image tokens lie at (0, row, column), as the reference's", () => {
    for (const [index, { rows, columns }] of cases.entries()) {
      const expected = Array.from({ length: rows * columns }, (_, i) => [
        0,
        Math.floor(i / columns),
        i % columns,
      ]);
      assert.deepEqual([...golden(index).imgIds], expected.flat());
    }
  });

  it("is the same block by block", async () => {
    const { inputs } = golden(0);
    const once = values(model.forward(inputs));
    for (const every of [1, 4])
      assert.deepEqual(values(await runStages(model.stages(inputs), { every })), once);
    let blocks = 0;
    for (const held of model.stages(inputs)) blocks += held.length > 0 ? 1 : 0;
    assert.equal(blocks, model.blocks);
  });

  it("a cancel within a step leaves nothing behind", async () => {
    const { inputs } = golden(0);
    const before = memory.liveHandles();
    const abort = new AbortController();
    const run = runStages(model.stages(inputs), { signal: abort.signal });
    setImmediate(() => abort.abort(new Error("enough")));
    await assert.rejects(run, /enough/);
    assert.ok(memory.liveHandles() <= before);
  });

  it("in bfloat16 it stays close to float32, and computes in bfloat16", async () => {
    using half = await tinyWorld("bfloat16");
    const { inputs, output } = golden(0);
    const out = half.forward(inputs);
    assert.equal(out.dtype, "bfloat16");
    const error = relativeError(values(out), output);
    assert.ok(error > 1e-4 && error < 0.1, `relative error ${error}`);
  });

  it("quantized to 8 bits it stays close to float32", async () => {
    using quantized = new FluxTransformer(tinyConfig);
    await quantized.load(weights(), { dtype: "float32", quantization: { bits: 8 } });
    const { inputs, output } = golden(0);
    const error = relativeError(values(quantized.forward(inputs)), output);
    assert.ok(error > 1e-4 && error < 0.02, `relative error ${error}`);
  });
});

// ---------------------------------------------------------------- another size, in plain doubles

type Matrix = number[][];

/** The transformer for one picture written out with loops, from the paper's equations. */
class Plainly {
  private readonly parameters = new Map<string, number[]>();
  private readonly shapes = new Map<string, readonly number[]>();

  constructor(
    model: FluxTransformer,
    private readonly config: FluxTransformerConfig,
  ) {
    for (const [path, parameter] of model.parameters()) {
      this.parameters.set(path, Array.from(values(parameter)));
      this.shapes.set(path, parameter.shape);
    }
  }

  private linear(path: string, x: Matrix): Matrix {
    const [weight, bias] = [this.parameters.get(`${path}.weight`)!, this.parameters.get(`${path}.bias`)!];
    const [out, inputs] = this.shapes.get(`${path}.weight`) as [number, number];
    return x.map((row) => {
      assert.equal(row.length, inputs);
      return Array.from({ length: out }, (_, o) =>
        row.reduce((sum, v, i) => sum + v * weight[o * inputs + i]!, bias[o]!),
      );
    });
  }

  private modulation(path: string, condition: number[], parts: number): number[][] {
    const [all] = this.linear(`${path}.linear`, [condition]);
    const dims = all!.length / parts;
    return Array.from({ length: parts }, (_, i) => all!.slice(i * dims, (i + 1) * dims));
  }

  private heads(x: Matrix, norm: string | null): number[][][] {
    const size = this.config.attentionHeadDim;
    const weight = norm ? this.parameters.get(`${norm}.weight`)! : null;
    return Array.from({ length: this.config.numAttentionHeads }, (_, head) =>
      x.map((row) => {
        const part = row.slice(head * size, (head + 1) * size);
        const scale = weight ? 1 / Math.sqrt(part.reduce((sum, v) => sum + v * v, 0) / size + 1e-6) : 1;
        return part.map((v, i) => v * scale * (weight ? weight[i]! : 1));
      }),
    );
  }

  private rotate(head: Matrix, positions: number[][]): Matrix {
    return head.map((row, token) => {
      const angles = this.config.axesDimsRope.flatMap((dims, axis) =>
        Array.from({ length: dims / 2 }, (_, i) => positions[token]![axis]! / 10000 ** ((2 * i) / dims)),
      );
      return row.map((v, i) => {
        const angle = angles[i >> 1]!;
        return i % 2 === 0
          ? v * Math.cos(angle) - row[i + 1]! * Math.sin(angle)
          : v * Math.cos(angle) + row[i - 1]! * Math.sin(angle);
      });
    });
  }

  private attend(q: number[][][], k: number[][][], v: number[][][], positions: number[][]): Matrix {
    const size = this.config.attentionHeadDim;
    const out: Matrix = positions.map(() => []);
    for (const [head, queries] of q.entries()) {
      const [rotated, keys] = [this.rotate(queries, positions), this.rotate(k[head]!, positions)];
      for (const [token, query] of rotated.entries()) {
        const scores = keys.map((key) => key.reduce((sum, x, i) => sum + x * query[i]!, 0) / Math.sqrt(size));
        const most = Math.max(...scores);
        const exps = scores.map((score) => Math.exp(score - most));
        const total = exps.reduce((sum, e) => sum + e, 0);
        for (let i = 0; i < size; i++)
          out[token]!.push(exps.reduce((sum, e, t) => sum + (e / total) * v[head]![t]![i]!, 0));
      }
    }
    return out;
  }

  private feedForward(path: string, x: Matrix): Matrix {
    return this.linear(`${path}.net.2`, map(geluTanh, this.linear(`${path}.net.0.proj`, x)));
  }

  private embedding(path: string, x: number[]): number[] {
    const embedder = `timeTextEmbed.${path}`;
    return this.linear(`${embedder}.linear2`, map(silu, this.linear(`${embedder}.linear1`, [x])))[0]!;
  }

  forward(
    hidden: Matrix,
    encoder: Matrix,
    pooled: number[],
    { timestep, guidance, columns }: { timestep: number; guidance: number; columns: number },
  ): Matrix {
    let image = this.linear("xEmbedder", hidden);
    let text = this.linear("contextEmbedder", encoder);
    const embedded = [
      this.embedding("timestepEmbedder", waves(1000 * timestep)),
      this.embedding("textEmbedder", pooled),
      ...(this.config.guidanceEmbeds ? [this.embedding("guidanceEmbedder", waves(1000 * guidance))] : []),
    ];
    const condition = embedded.reduce((sum, one) => sum.map((v, i) => v + one[i]!)).map(silu);
    const positions = [
      ...text.map(() => [0, 0, 0]),
      ...image.map((_, i) => [0, Math.floor(i / columns), i % columns]),
    ];

    for (let i = 0; i < this.config.numLayers; i++) {
      const block = `transformerBlocks.${i}`;
      const [shift, scale, gate, mlpShift, mlpScale, mlpGate] = this.modulation(
        `${block}.norm1`,
        condition,
        6,
      );
      const [tShift, tScale, tGate, tMlpShift, tMlpScale, tMlpGate] = this.modulation(
        `${block}.norm1Context`,
        condition,
        6,
      );
      const [a, b] = [modulated(image, shift!, scale!), modulated(text, tShift!, tScale!)];
      const joint = (ofText: string, ofImage: string, norms: [string, string] | null): number[][][] => {
        const textHeads = this.heads(
          this.linear(`${block}.attn.${ofText}`, b),
          norms && `${block}.attn.${norms[0]}`,
        );
        const imageHeads = this.heads(
          this.linear(`${block}.attn.${ofImage}`, a),
          norms && `${block}.attn.${norms[1]}`,
        );
        return textHeads.map((head, h) => [...head, ...imageHeads[h]!]);
      };
      const attended = this.attend(
        joint("addQProj", "toQ", ["normAddedQ", "normQ"]),
        joint("addKProj", "toK", ["normAddedK", "normK"]),
        joint("addVProj", "toV", null),
        positions,
      );
      image = gated(image, gate!, this.linear(`${block}.attn.toOut.0`, attended.slice(text.length)));
      image = gated(image, mlpGate!, this.feedForward(`${block}.ff`, modulated(image, mlpShift!, mlpScale!)));
      text = gated(text, tGate!, this.linear(`${block}.attn.toAddOut`, attended.slice(0, text.length)));
      text = gated(
        text,
        tMlpGate!,
        this.feedForward(`${block}.ffContext`, modulated(text, tMlpShift!, tMlpScale!)),
      );
    }

    let all = [...text, ...image];
    for (let i = 0; i < this.config.numSingleLayers; i++) {
      const block = `singleTransformerBlocks.${i}`;
      const [shift, scale, gate] = this.modulation(`${block}.norm`, condition, 3);
      const x = modulated(all, shift!, scale!);
      const of = (name: string, norm: string | null): number[][][] =>
        this.heads(this.linear(`${block}.attn.${name}`, x), norm && `${block}.attn.${norm}`);
      const attended = this.attend(of("toQ", "normQ"), of("toK", "normK"), of("toV", null), positions);
      const mlp = map(geluTanh, this.linear(`${block}.projMlp`, x));
      const joined = attended.map((row, t) => [...row, ...mlp[t]!]);
      all = gated(all, gate!, this.linear(`${block}.projOut`, joined));
    }
    const [scale, shift] = this.modulation("normOut", condition, 2);
    return this.linear("projOut", modulated(all.slice(text.length), shift!, scale!));
  }
}

const map = (f: (v: number) => number, x: Matrix): Matrix => x.map((row) => row.map(f));
const silu = (v: number): number => v / (1 + Math.exp(-v));
const geluTanh = (v: number): number =>
  (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
const waves = (value: number): number[] => {
  const angles = Array.from({ length: 128 }, (_, i) => value * 10000 ** (-i / 128));
  return [...angles.map(Math.cos), ...angles.map(Math.sin)];
};
const modulated = (x: Matrix, shift: number[], scale: number[]): Matrix =>
  x.map((row) => {
    const mean = row.reduce((sum, v) => sum + v, 0) / row.length;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
    return row.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-6)) * (1 + scale[i]!) + shift[i]!);
  });
const gated = (x: Matrix, gate: number[], y: Matrix): Matrix =>
  x.map((row, t) => row.map((v, i) => v + gate[i]! * y[t]![i]!));

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

describe("FLUX transformer at another size", () => {
  // With small weights the vectors under the norms have an RMS near the square root of eps, where a wrong eps shows.
  for (const [scale, bound] of [
    [0.2, 3e-6],
    [0.005, 1e-6],
  ] as const)
    for (const guidanceEmbeds of [true, false]) {
      it(`equals plain loops in doubles: weights of ${scale}, guidance ${guidanceEmbeds}`, () => {
        const config = { ...oddConfig, guidanceEmbeds };
        const model = oddModel(config, scale);
        const inputs = oddInputs(config, scale < 0.1 ? 0.1 : 1);
        const expected = new Plainly(model, config).forward(
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

  it("text has no order, the picture has", () => {
    const shuffled = array([2, 0, 3, 1], { dtype: "int32" });
    const text = take(inputs.encoderHiddenStates, shuffled, 1);
    const same = values(model.forward({ ...inputs, encoderHiddenStates: text }));
    assert.ok(relativeError(same, output) <= 1e-5);
    const rotary = rotaryTables(oddConfig, { ...oddSize, rows: 5, columns: 3 });
    assert.ok(relativeError(values(model.forward({ ...inputs, rotary })), output) > 1e-3);
  });

  it("pictures of a batch do not see each other", () => {
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

  it("guidance matters to a model that embeds it, and to no other", () => {
    assert.ok(relativeError(values(model.forward({ ...inputs, guidance: 0.009 })), output) > 1e-3);
    const without = oddModel({ ...oddConfig, guidanceEmbeds: false }, 0.2);
    assert.deepEqual(
      values(without.forward({ ...inputs, guidance: 0.009 })),
      values(without.forward(inputs)),
    );
  });

  it("in float16 the text stream and the single blocks are limited to what it holds", () => {
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
    const path = new Map([...half.parameters()].map(([name, a]) => [name, astype(a, "float16")]));
    for (const [prefix, layer] of half.modules())
      for (const [name] of layer.ownParameters())
        layer.replace(name, path.get(prefix ? `${prefix}.${name}` : name)!);
    const out = half.forward(inputs);
    assert.equal(out.dtype, "float16");
    assert.ok(values(out).every(Number.isFinite));
  });
});

describe("what the embedding of time and guidance sees", () => {
  it("float32: a thousand times the value", () => {
    assert.equal(embeddedTimestep(0.7, "float32"), Math.fround(Math.fround(0.7) * 1000));
    assert.equal(embeddedGuidance(10, "float32"), 10000);
  });

  it("bfloat16: rounded as diffusers rounds", () => {
    assert.equal(embeddedTimestep(0.92238, "bfloat16"), 924);
    assert.equal(embeddedGuidance(10, "bfloat16"), 9984);
    assert.equal(embeddedGuidance(3.5, "bfloat16"), 3504);
    assert.equal(embeddedTimestep(1, "bfloat16"), 1000);
  });

  it("cosines first, at frequencies from 1 to nearly 1/10000", () => {
    const wave = sinusoid(2);
    assert.equal(wave.length, 256);
    assert.equal(wave[0], Math.fround(Math.cos(2)));
    assert.equal(wave[128], Math.fround(Math.sin(2)));
    assert.ok(Math.abs(wave[255]! - Math.sin(2 * 10000 ** (-127 / 128))) < 1e-7);
  });
});

describe("FLUX transformer: loading and config", () => {
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

  it("names tensors that are missing, too many, of another shape", async () => {
    const { missing, unexpected, misshapen } = await failure((tensors) => {
      tensors.delete("single_transformer_blocks.4.attn.norm_k.weight");
      tensors.set("transformer_blocks.9.attn.to_q.weight", full([1], 0));
      tensors.set("x_embedder.weight", full([192, 64], 0));
    });
    assert.deepEqual(missing, ["singleTransformerBlocks.4.attn.normK.weight"]);
    assert.deepEqual(unexpected, ["transformer_blocks.9.attn.to_q.weight"]);
    assert.deepEqual(
      misshapen.map(({ name, expected }) => [name, expected]),
      [["x_embedder.weight", "floating [192, 128]"]],
    );
  });

  it("has diffusers' defaults", () => {
    assert.deepEqual(fluxTransformerConfig({}), {
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
    assert.equal(fluxTransformerConfig({ in_channels: 128, out_channels: null }).outChannels, 128);
  });

  it("refuses configs that cannot be", () => {
    for (const [config, message] of [
      [[], /not a JSON object/],
      [{ _class_name: "UNet2DConditionModel" }, /"UNet2DConditionModel"/],
      [{ num_layers: 0 }, /"num_layers" is 0/],
      [{ num_layers: "19" }, /"num_layers" is "19"/],
      [{ guidance_embeds: 1 }, /"guidance_embeds" is 1/],
      [{ patch_size: 2 }, /"patch_size" is 2/],
      [{ axes_dims_rope: [16, 56] }, /three even numbers/],
      [{ axes_dims_rope: [16, 56, 54] }, /adds up to 126, but "attention_head_dim" is 128/],
    ] as const)
      assert.throws(
        () => fluxTransformerConfig(config, "a/config.json"),
        (error) =>
          error instanceof ModelError && error.source === "a/config.json" && message.test(error.message),
      );
  });
});
