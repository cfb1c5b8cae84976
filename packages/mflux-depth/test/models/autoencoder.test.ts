import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, it } from "node:test";
import {
  concatenate,
  type DType,
  defaultDevice,
  evaluateSync,
  loadSafetensors,
  type MxArray,
  memory,
  random,
  scope,
  slice,
  transpose,
} from "@mflux-depth/mlx";
import { LoadError, randomize, runStages } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../src/errors.js";
import {
  Autoencoder,
  type AutoencoderConfig,
  autoencoderConfig,
  reductionOf,
  scaleLatents,
  unscaleLatents,
} from "../../src/models/autoencoder.js";
import { at, relativeError, values } from "../support/tensors.js";

const folder = "models/tiny-world/vae";
const tinyConfig = autoencoderConfig(
  JSON.parse(readFileSync(at(`${folder}/config.json`), "utf8")),
  "config.json",
);
const weights = (): Map<string, MxArray> =>
  loadSafetensors(at(`${folder}/diffusion_pytorch_model.safetensors`)).arrays;

async function tinyWorld(dtype: DType = "float32"): Promise<Autoencoder> {
  const model = new Autoencoder(tinyConfig);
  await model.load(weights(), { dtype });
  return model;
}

/** The golden tensor, channels last. */
const golden = (name: string): MxArray =>
  scope(() => {
    const tensor = loadSafetensors(at("test/golden/vae.safetensors")).arrays.get(name)!;
    return transpose(tensor, [0, 2, 3, 1]);
  });

// On the CPU, the difference to torch is 8e-7.
const tolerance = defaultDevice() === "cpu" ? 3e-6 : 2e-5;

describe("autoencoder against diffusers", () => {
  let model: Autoencoder;
  before(async () => {
    model = await tinyWorld();
  });
  const cases = [
    ["image", "latent", (x: MxArray) => model.encode(x)],
    ["latent", "decoded", (x: MxArray) => model.decode(x)],
    ["random_latent", "random_decoded", (x: MxArray) => model.decode(x)],
  ] as const;
  for (const [from, to, run] of cases) {
    it(`computes ${to} from ${from}`, () => {
      const input = golden(from);
      const out = run(input);
      assert.deepEqual(out.shape, golden(to).shape);
      const error = relativeError(values(out), values(golden(to)));
      assert.ok(error <= tolerance, `relative error ${error}`);
      assert.ok(!input.disposed);
    });
  }

  it("gives the same result layer by layer", async () => {
    const latents = golden("random_latent");
    const once = values(model.decode(latents));
    assert.deepEqual(values(await runStages(model.decodeStages(latents))), once);
    assert.ok(relativeError(once, values(golden("random_decoded"))) <= tolerance);
    const picture = model.decode(latents);
    assert.deepEqual(values(await runStages(model.encodeStages(picture))), values(model.encode(picture)));
  });

  it("holds nothing after a decoding is cancelled", async () => {
    const latents = golden("random_latent");
    evaluateSync(latents);
    const before = memory.liveHandles();
    const abort = new AbortController();
    const decoding = runStages(model.decodeStages(latents), { signal: abort.signal });
    setImmediate(() => abort.abort(new Error("enough")));
    await assert.rejects(decoding, /enough/);
    assert.ok(memory.liveHandles() <= before);
    assert.ok(!latents.disposed);
  });

  it("stays close to float32 in bfloat16", async () => {
    using half = await tinyWorld("bfloat16");
    const out = half.decode(golden("random_latent"));
    assert.equal(out.dtype, "bfloat16");
    const error = relativeError(values(out), values(golden("random_decoded")));
    assert.ok(error > 1e-4 && error < 0.1, `relative error ${error}`);
  });

  it("shifts, then scales latents for the transformer", () => {
    const { scalingFactor, shiftFactor } = tinyConfig;
    const latents = golden("random_latent");
    const scaled = scaleLatents(latents, tinyConfig);
    const expected = Array.from(values(latents), (v) => (v - shiftFactor) * scalingFactor);
    assert.ok(relativeError(values(scaled), expected) <= 1e-6);
    assert.ok(relativeError(values(unscaleLatents(scaled, tinyConfig)), values(latents)) <= 1e-6);
    assert.equal(reductionOf(tinyConfig), 8);
  });
});

// ---------------------------------------------------------------- another size, in plain doubles

/** The feature map of one image, channels last. */
interface Plane {
  height: number;
  width: number;
  channels: number;
  data: Float64Array;
}

const plane = (height: number, width: number, channels: number): Plane => ({
  height,
  width,
  channels,
  data: new Float64Array(height * width * channels),
});

/** The autoencoder for one image, in plain loops. */
class Plainly {
  private readonly parameters: Map<string, { shape: readonly number[]; data: Float32Array }>;

  constructor(
    model: Autoencoder,
    private readonly config: AutoencoderConfig,
  ) {
    this.parameters = new Map(
      [...model.parameters()].map(([path, a]) => [path, { shape: a.shape, data: values(a) }]),
    );
  }

  private conv(path: string, x: Plane, stride = 1, before = 1, after = before): Plane {
    const { shape, data: weight } = this.parameters.get(`${path}.weight`)!;
    const bias = this.parameters.get(`${path}.bias`)!.data;
    const [out, size] = shape as [number, number];
    const sizeOf = (n: number): number => Math.floor((n + before + after - size) / stride) + 1;
    const y = plane(sizeOf(x.height), sizeOf(x.width), out);
    for (let row = 0; row < y.height; row++)
      for (let column = 0; column < y.width; column++)
        for (let o = 0; o < out; o++) {
          let sum = bias[o]!;
          for (let dy = 0; dy < size; dy++)
            for (let dx = 0; dx < size; dx++) {
              const [iy, ix] = [row * stride + dy - before, column * stride + dx - before];
              if (iy < 0 || iy >= x.height || ix < 0 || ix >= x.width) continue;
              for (let i = 0; i < x.channels; i++)
                sum +=
                  x.data[(iy * x.width + ix) * x.channels + i]! *
                  weight[((o * size + dy) * size + dx) * x.channels + i]!;
            }
          y.data[(row * y.width + column) * out + o] = sum;
        }
    return y;
  }

  private norm(path: string, x: Plane, activation = true): Plane {
    const [weight, bias] = ["weight", "bias"].map((name) => this.parameters.get(`${path}.${name}`)!.data) as [
      Float32Array,
      Float32Array,
    ];
    const y = { ...x, data: x.data.slice() };
    const size = x.channels / this.config.normNumGroups;
    for (let group = 0; group < this.config.normNumGroups; group++) {
      const inGroup = [...x.data.keys()].filter((i) => Math.floor((i % x.channels) / size) === group);
      const mean = inGroup.reduce((sum, i) => sum + x.data[i]!, 0) / inGroup.length;
      const variance = inGroup.reduce((sum, i) => sum + (x.data[i]! - mean) ** 2, 0) / inGroup.length;
      for (const i of inGroup) {
        const v =
          ((x.data[i]! - mean) / Math.sqrt(variance + 1e-6)) * weight[i % x.channels]! +
          bias[i % x.channels]!;
        y.data[i] = activation ? v / (1 + Math.exp(-v)) : v;
      }
    }
    return y;
  }

  private resnet(path: string, x: Plane): Plane {
    const h = this.conv(`${path}.conv1`, this.norm(`${path}.norm1`, x));
    const y = this.conv(`${path}.conv2`, this.norm(`${path}.norm2`, h));
    const shortcut = this.parameters.has(`${path}.convShortcut.weight`)
      ? this.conv(`${path}.convShortcut`, x, 1, 0)
      : x;
    return { ...y, data: y.data.map((v, i) => v + shortcut.data[i]!) };
  }

  private attention(path: string, x: Plane): Plane {
    const normed = this.norm(`${path}.groupNorm`, x, false).data;
    const c = x.channels;
    const places = x.height * x.width;
    const linear = (name: string, input: Float64Array): Float64Array => {
      const weight = this.parameters.get(`${path}.${name}.weight`)!.data;
      const bias = this.parameters.get(`${path}.${name}.bias`)!.data;
      const out = new Float64Array(input.length);
      for (let p = 0; p < places; p++)
        for (let o = 0; o < c; o++) {
          out[p * c + o] = bias[o]!;
          for (let i = 0; i < c; i++) out[p * c + o]! += input[p * c + i]! * weight[o * c + i]!;
        }
      return out;
    };
    const [q, k, v] = [linear("toQ", normed), linear("toK", normed), linear("toV", normed)];
    const attended = new Float64Array(x.data.length);
    for (let p = 0; p < places; p++) {
      const exps = Array.from({ length: places }, (_, other) => {
        let score = 0;
        for (let i = 0; i < c; i++) score += q[p * c + i]! * k[other * c + i]!;
        return Math.exp(score / Math.sqrt(c));
      });
      const total = exps.reduce((sum, e) => sum + e, 0);
      for (const [other, e] of exps.entries())
        for (let i = 0; i < c; i++) attended[p * c + i]! += (e / total) * v[other * c + i]!;
    }
    const out = linear("toOut.0", attended);
    return { ...x, data: x.data.map((value, i) => value + out[i]!) };
  }

  private mid(path: string, x: Plane): Plane {
    const first = this.resnet(`${path}.resnets.0`, x);
    const attended = this.config.midBlockAddAttention ? this.attention(`${path}.attentions.0`, first) : first;
    return this.resnet(`${path}.resnets.1`, attended);
  }

  encode(picture: Plane): Plane {
    let x = this.conv("encoder.convIn", picture);
    const levels = this.config.blockOutChannels.length;
    for (let level = 0; level < levels; level++) {
      const block = `encoder.downBlocks.${level}`;
      for (let i = 0; i < this.config.layersPerBlock; i++) x = this.resnet(`${block}.resnets.${i}`, x);
      if (level < levels - 1) x = this.conv(`${block}.downsamplers.0.conv`, x, 2, 0, 1);
    }
    x = this.mid("encoder.midBlock", x);
    x = this.conv("encoder.convOut", this.norm("encoder.convNormOut", x));
    if (this.config.useQuantConv) x = this.conv("quantConv", x, 1, 0);
    const mean = plane(x.height, x.width, x.channels / 2);
    for (const i of mean.data.keys())
      mean.data[i] = x.data[Math.floor(i / mean.channels) * x.channels + (i % mean.channels)]!;
    return mean;
  }

  decode(latents: Plane): Plane {
    let x = this.config.usePostQuantConv ? this.conv("postQuantConv", latents, 1, 0) : latents;
    x = this.mid("decoder.midBlock", this.conv("decoder.convIn", x));
    const levels = this.config.blockOutChannels.length;
    for (let level = 0; level < levels; level++) {
      const block = `decoder.upBlocks.${level}`;
      for (let i = 0; i <= this.config.layersPerBlock; i++) x = this.resnet(`${block}.resnets.${i}`, x);
      if (level === levels - 1) break;
      const doubled = plane(2 * x.height, 2 * x.width, x.channels);
      for (const i of doubled.data.keys()) {
        const [channel, place] = [i % x.channels, Math.floor(i / x.channels)];
        const [row, column] = [Math.floor(place / doubled.width) >> 1, (place % doubled.width) >> 1];
        doubled.data[i] = x.data[(row * x.width + column) * x.channels + channel]!;
      }
      x = this.conv(`${block}.upsamplers.0.conv`, doubled);
    }
    return this.conv("decoder.convOut", this.norm("decoder.convNormOut", x));
  }
}

const oddConfig: AutoencoderConfig = {
  inChannels: 3,
  outChannels: 3,
  latentChannels: 5,
  blockOutChannels: [6, 12, 9],
  layersPerBlock: 2,
  normNumGroups: 3,
  midBlockAddAttention: true,
  useQuantConv: true,
  usePostQuantConv: true,
  scalingFactor: 0.5,
  shiftFactor: 0.25,
};

function oddModel(config: AutoencoderConfig, scale: number): Autoencoder {
  const model = new Autoencoder(config);
  using key = random.key(3);
  randomize(model, key, scale);
  return model;
}

const draw = (shape: number[], seed: number, scale = 1): MxArray =>
  random.normal(shape, { key: random.key(seed), scale });

const planeOf = (a: MxArray): Plane => {
  const [, height, width, channels] = a.shape as [number, number, number, number];
  return { height, width, channels, data: Float64Array.from(values(a)) };
};

describe("autoencoder at another size", () => {
  const without = {
    ...oddConfig,
    midBlockAddAttention: false,
    useQuantConv: false,
    usePostQuantConv: false,
    layersPerBlock: 1,
  };
  // Small weights and inputs bring the norms' inputs near the square root of eps, where a wrong eps shows.
  for (const [name, config, scale] of [
    ["with all parts", oddConfig, 0.2],
    ["with small weights", oddConfig, 0.02],
    ["without attention and the convolutions between", without, 0.2],
  ] as const) {
    it(`equals plain loops in doubles, ${name}`, () => {
      const model = oddModel(config, scale);
      const plainly = new Plainly(model, config);
      const picture = draw([1, 12, 20, 3], 1, scale < 0.1 ? 0.01 : 1);
      const latents = draw([1, 3, 5, 5], 2, scale < 0.1 ? 0.01 : 1);
      const encoded = relativeError(values(model.encode(picture)), plainly.encode(planeOf(picture)).data);
      const decoded = relativeError(values(model.decode(latents)), plainly.decode(planeOf(latents)).data);
      assert.ok(encoded <= 3e-6, `encoding: relative error ${encoded}`);
      assert.ok(decoded <= 3e-6, `decoding: relative error ${decoded}`);
    });
  }

  it("keeps the images of a batch apart", () => {
    const model = oddModel(oddConfig, 0.2);
    const [a, b] = [draw([1, 3, 5, 5], 3), draw([1, 3, 5, 5], 4)];
    const both = model.decode(concatenate([a, b]));
    for (const [i, one] of [a, b].entries())
      assert.ok(relativeError(values(slice(both, [[i, i + 1]])), values(model.decode(one))) <= 1e-6);
  });
});

describe("autoencoder: loading and config", () => {
  it("understands the attention's old names", async () => {
    const old = new Map(
      [...weights()].map(([key, tensor]) => [
        key
          .replace("to_q", "query")
          .replace("to_k", "key")
          .replace("to_v", "value")
          .replace("to_out.0", "proj_attn"),
        tensor,
      ]),
    );
    assert.ok(old.has("decoder.mid_block.attentions.0.proj_attn.bias"));
    using model = new Autoencoder(tinyConfig);
    await model.load(old, { dtype: "float32" });
    const out = model.decode(golden("random_latent"));
    assert.ok(relativeError(values(out), values(golden("random_decoded"))) <= tolerance);
  });

  it("names missing and unexpected tensors", async () => {
    const tensors = weights();
    tensors.delete("encoder.conv_in.bias");
    const unneeded = tensors.get("decoder.conv_out.bias")!;
    tensors.set(
      "quant_conv.bias",
      scope(() => slice(unneeded, [null])),
    );
    await assert.rejects(
      new Autoencoder(tinyConfig).load(tensors),
      (error) =>
        error instanceof LoadError &&
        error.missing.join() === "encoder.convIn.bias" &&
        error.unexpected.join() === "quant_conv.bias",
    );
  });

  it("gives missing values the defaults of diffusers", () => {
    assert.deepEqual(autoencoderConfig({ shift_factor: null }, "config.json"), {
      inChannels: 3,
      outChannels: 3,
      latentChannels: 4,
      blockOutChannels: [64],
      layersPerBlock: 1,
      normNumGroups: 32,
      midBlockAddAttention: true,
      useQuantConv: true,
      usePostQuantConv: true,
      scalingFactor: 0.18215,
      shiftFactor: 0,
    });
  });

  for (const [what, config, message] of [
    ["a config that is not an object", "", /not a JSON object/],
    ["another class", { _class_name: "AutoencoderTiny" }, /"AutoencoderTiny"/],
    ["another activation", { act_fn: "gelu" }, /"act_fn" is "gelu"/],
    ["a block without channels", { block_out_channels: [64, 0] }, /"block_out_channels" is \[64,0\]/],
    [
      "groups that do not divide the channels",
      { block_out_channels: [64, 72] },
      /does not divide the 72 channels/,
    ],
    [
      "too few block types",
      { block_out_channels: [64, 128], down_block_types: ["DownEncoderBlock2D"] },
      /"DownEncoderBlock2D" 2 times/,
    ],
    ["a scaling factor of zero", { scaling_factor: 0 }, /"scaling_factor" is 0/],
    ["a shift that is not a number", { shift_factor: "a" }, /"shift_factor" is "a"/],
  ] as const)
    it(`refuses ${what}`, () => {
      assert.throws(
        () => autoencoderConfig(config, "config.json"),
        (error) => error instanceof ModelError && message.test(error.message),
      );
    });
});
