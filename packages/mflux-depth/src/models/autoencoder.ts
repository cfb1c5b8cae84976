import {
  add,
  astype,
  defaultDevice,
  divide,
  type MxArray,
  multiply,
  reshape,
  scope,
  slice,
  subtract,
} from "@mflux-depth/mlx";
import {
  attention,
  Conv2d,
  GroupNorm,
  Linear,
  type LoadOptions,
  lazily,
  Module,
  type Stages,
} from "@mflux-depth/mlx/nn";
import { applyOps, type ConvOp, elementsOf, inBands, sizeOf } from "./bands.js";
import { ConfigReader } from "./config.js";
import {
  type Arithmetic,
  type Layer,
  type LayerShape,
  planLayers,
  runsFused,
  shapeOfLayer,
} from "./layer-plan.js";
import { consuming } from "./stages.js";

/*
 * The variational autoencoder of latent diffusion (Rombach et al., "High-Resolution Image Synthesis with Latent
 * Diffusion Models", arXiv:2112.10752; diffusers: models/autoencoders/autoencoder_kl.py and vae.py,
 * models/unets/unet_2d_blocks.py). Properties are named after them.
 * Images and feature maps are `[batch, height, width, channels]`.
 */

// ---------------------------------------------------------------- config

export interface AutoencoderConfig {
  inChannels: number;
  outChannels: number;
  latentChannels: number;
  /** Channels of each level, starting at the image's size. Each level except the last halves height and width. */
  blockOutChannels: number[];
  layersPerBlock: number;
  normNumGroups: number;
  midBlockAddAttention: boolean;
  useQuantConv: boolean;
  usePostQuantConv: boolean;
  /** The transformer's latents are `(latents - shiftFactor) * scalingFactor`. */
  scalingFactor: number;
  shiftFactor: number;
}

/**
 * Reads a `vae/config.json`. Missing values get the defaults of diffusers.
 * @param source the file, for messages
 * @throws {ModelError} when it describes another model, or its values contradict each other.
 */
export function autoencoderConfig(json: unknown, source: string): AutoencoderConfig {
  const reader = new ConfigReader(json, "an autoencoder", source);
  reader.className("AutoencoderKL");
  const config: AutoencoderConfig = {
    inChannels: reader.count("in_channels", 3),
    outChannels: reader.count("out_channels", 3),
    latentChannels: reader.count("latent_channels", 4),
    blockOutChannels: reader.counts("block_out_channels", [64]),
    layersPerBlock: reader.layers("layers_per_block", 1),
    normNumGroups: reader.count("norm_num_groups", 32),
    midBlockAddAttention: reader.flag("mid_block_add_attention", true),
    useQuantConv: reader.flag("use_quant_conv", true),
    usePostQuantConv: reader.flag("use_post_quant_conv", true),
    scalingFactor: reader.number("scaling_factor", 0.18215),
    shiftFactor: reader.number("shift_factor", 0),
  };
  const { blockOutChannels, normNumGroups, scalingFactor } = config;
  reader.only("act_fn", "silu");
  reader.onlyItems("down_block_types", "DownEncoderBlock2D", blockOutChannels.length);
  reader.onlyItems("up_block_types", "UpDecoderBlock2D", blockOutChannels.length);
  if (scalingFactor === 0) reader.fail(`"scaling_factor" is 0; another number is needed`);
  for (const channels of blockOutChannels)
    if (channels % normNumGroups !== 0)
      reader.fail(
        `"norm_num_groups" is ${normNumGroups}, which does not divide the ${channels} channels of a block`,
      );
  return config;
}

/** Pixels per latent, along each side. */
export const reductionOf = (config: AutoencoderConfig): number => 2 ** (config.blockOutChannels.length - 1);

/** Scales the autoencoder's latents to those of the transformer, of the same shape. */
export const scaleLatents = (latents: MxArray, config: AutoencoderConfig): MxArray =>
  scope(() => multiply(subtract(latents, config.shiftFactor), config.scalingFactor));

/** The inverse of {@link scaleLatents}. */
export const unscaleLatents = (latents: MxArray, config: AutoencoderConfig): MxArray =>
  scope(() => add(divide(latents, config.scalingFactor), config.shiftFactor));

// ---------------------------------------------------------------- layers

const normEps = 1e-6;

/** A layer of one convolution that holds only its output. */
const single = (op: ConvOp): Layer => ({
  forward: (x) => applyOps([op], x),
  ops: [op],
  maps: 1,
});

class ResnetBlock extends Module {
  readonly maps = 2;
  readonly norm1: GroupNorm;
  readonly conv1: Conv2d;
  readonly norm2: GroupNorm;
  readonly conv2: Conv2d;
  readonly convShortcut: Conv2d | null;

  constructor(inChannels: number, outChannels: number, groups: number) {
    super();
    this.norm1 = new GroupNorm(groups, inChannels, { eps: normEps });
    this.conv1 = new Conv2d(inChannels, outChannels, { kernelSize: 3, padding: 1 });
    this.norm2 = new GroupNorm(groups, outChannels, { eps: normEps });
    this.conv2 = new Conv2d(outChannels, outChannels, { kernelSize: 3, padding: 1 });
    this.convShortcut =
      inChannels === outChannels ? null : new Conv2d(inChannels, outChannels, { kernelSize: 1 });
  }

  get ops(): readonly ConvOp[] {
    return [
      { norm: this.norm1, conv: this.conv1 },
      { norm: this.norm2, conv: this.conv2, skip: { conv: this.convShortcut } },
    ];
  }

  /** `[batch, height, width, in]` → `[batch, height, width, out]` */
  forward(x: MxArray): MxArray {
    return applyOps(this.ops, x);
  }
}

/** Attention between all positions, with one head. */
class SpatialAttention extends Module {
  readonly maps = 6;
  readonly groupNorm: GroupNorm;
  readonly toQ: Linear;
  readonly toK: Linear;
  readonly toV: Linear;
  readonly toOut: readonly [Linear];

  constructor(channels: number, groups: number) {
    super();
    this.groupNorm = new GroupNorm(groups, channels, { eps: normEps });
    this.toQ = new Linear(channels, channels);
    this.toK = new Linear(channels, channels);
    this.toV = new Linear(channels, channels);
    this.toOut = [new Linear(channels, channels)];
  }

  /** `[batch, height, width, channels]` → the same shape */
  forward(x: MxArray): MxArray {
    const [batch, height, width, channels] = x.shape as [number, number, number, number];
    const normed = reshape(this.groupNorm.forward(x), [batch, 1, height * width, channels]);
    const [q, k, v] = [this.toQ.forward(normed), this.toK.forward(normed), this.toV.forward(normed)];
    const attended = attention(q, k, v, { scale: channels ** -0.5 });
    return add(x, reshape(this.toOut[0].forward(attended), x.shape));
  }
}

class MidBlock extends Module {
  readonly resnets: readonly [ResnetBlock, ResnetBlock];
  readonly attentions: readonly [SpatialAttention | null];

  constructor(channels: number, config: AutoencoderConfig) {
    super();
    const groups = config.normNumGroups;
    this.resnets = [new ResnetBlock(channels, channels, groups), new ResnetBlock(channels, channels, groups)];
    this.attentions = [config.midBlockAddAttention ? new SpatialAttention(channels, groups) : null];
  }

  layers(): Layer[] {
    const [attentionLayer] = this.attentions;
    return [this.resnets[0], ...(attentionLayer ? [attentionLayer] : []), this.resnets[1]];
  }
}

/** Halves the size. Pads on the right and below only. */
class Downsample extends Module {
  readonly conv: Conv2d;

  constructor(channels: number) {
    super();
    this.conv = new Conv2d(channels, channels, { kernelSize: 3, stride: 2, padding: [0, 1] });
  }

  layer(): Layer {
    return single({ conv: this.conv });
  }
}

/** Doubles the size by nearest neighbour, then convolves. */
class Upsample extends Module {
  readonly conv: Conv2d;

  constructor(channels: number) {
    super();
    this.conv = new Conv2d(channels, channels, { kernelSize: 3, padding: 1 });
  }

  layer(): Layer {
    return single({ conv: this.conv, repeat: 2 });
  }
}

/** `count` residual blocks; the first one changes the number of channels. */
const resnetsOf = (count: number, inChannels: number, outChannels: number, groups: number): ResnetBlock[] =>
  Array.from(
    { length: count },
    (_, i) => new ResnetBlock(i === 0 ? inChannels : outChannels, outChannels, groups),
  );

class DownBlock extends Module {
  readonly resnets: readonly ResnetBlock[];
  readonly downsamplers: readonly Downsample[];

  constructor(inChannels: number, outChannels: number, last: boolean, config: AutoencoderConfig) {
    super();
    this.resnets = resnetsOf(config.layersPerBlock, inChannels, outChannels, config.normNumGroups);
    this.downsamplers = last ? [] : [new Downsample(outChannels)];
  }

  layers(): Layer[] {
    return [...this.resnets, ...this.downsamplers.map((one) => one.layer())];
  }
}

class UpBlock extends Module {
  readonly resnets: readonly ResnetBlock[];
  readonly upsamplers: readonly Upsample[];

  constructor(inChannels: number, outChannels: number, last: boolean, config: AutoencoderConfig) {
    super();
    this.resnets = resnetsOf(config.layersPerBlock + 1, inChannels, outChannels, config.normNumGroups);
    this.upsamplers = last ? [] : [new Upsample(outChannels)];
  }

  layers(): Layer[] {
    return [...this.resnets, ...this.upsamplers.map((one) => one.layer())];
  }
}

// ---------------------------------------------------------------- encoder and decoder

/** Images `[b, h, w, inChannels]` → mean and log variance of the latents, `[b, h/8, w/8, 2 · latentChannels]`. */
class Encoder extends Module {
  readonly convIn: Conv2d;
  readonly downBlocks: readonly DownBlock[];
  readonly midBlock: MidBlock;
  readonly convNormOut: GroupNorm;
  readonly convOut: Conv2d;

  constructor(config: AutoencoderConfig) {
    super();
    const { blockOutChannels: channels, inChannels, latentChannels } = config;
    const deepest = channels.at(-1)!;
    this.convIn = new Conv2d(inChannels, channels[0]!, { kernelSize: 3, padding: 1 });
    this.downBlocks = channels.map(
      (out, i) => new DownBlock(channels[Math.max(i - 1, 0)]!, out, i === channels.length - 1, config),
    );
    this.midBlock = new MidBlock(deepest, config);
    this.convNormOut = new GroupNorm(config.normNumGroups, deepest, { eps: normEps });
    this.convOut = new Conv2d(deepest, 2 * latentChannels, { kernelSize: 3, padding: 1 });
  }

  layers(): Layer[] {
    return [
      single({ conv: this.convIn }),
      ...this.downBlocks.flatMap((block) => block.layers()),
      ...this.midBlock.layers(),
      single({ norm: this.convNormOut, conv: this.convOut }),
    ];
  }
}

/** Latents `[b, h/8, w/8, latentChannels]` → images `[b, h, w, outChannels]`. */
class Decoder extends Module {
  readonly convIn: Conv2d;
  readonly midBlock: MidBlock;
  readonly upBlocks: readonly UpBlock[];
  readonly convNormOut: GroupNorm;
  readonly convOut: Conv2d;

  constructor(config: AutoencoderConfig) {
    super();
    const { latentChannels, outChannels } = config;
    const channels = config.blockOutChannels.toReversed();
    const [deepest, shallowest] = [channels[0]!, channels.at(-1)!];
    this.convIn = new Conv2d(latentChannels, deepest, { kernelSize: 3, padding: 1 });
    this.midBlock = new MidBlock(deepest, config);
    this.upBlocks = channels.map(
      (out, i) => new UpBlock(channels[Math.max(i - 1, 0)]!, out, i === channels.length - 1, config),
    );
    this.convNormOut = new GroupNorm(config.normNumGroups, shallowest, { eps: normEps });
    this.convOut = new Conv2d(shallowest, outChannels, { kernelSize: 3, padding: 1 });
  }

  layers(): Layer[] {
    return [
      single({ conv: this.convIn }),
      ...this.midBlock.layers(),
      ...this.upBlocks.flatMap((block) => block.layers()),
      single({ norm: this.convNormOut, conv: this.convOut }),
    ];
  }
}

// ---------------------------------------------------------------- the autoencoder

/** The autoencoder (VAE): images `[batch, height, width, 3]` to latents, smaller by {@link reductionOf} the config, and back. */
export class Autoencoder extends Module {
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quantConv: Conv2d | null;
  readonly postQuantConv: Conv2d | null;
  readonly config: AutoencoderConfig;

  constructor(config: AutoencoderConfig) {
    super();
    const { latentChannels } = config;
    this.encoder = new Encoder(config);
    this.decoder = new Decoder(config);
    this.quantConv = config.useQuantConv
      ? new Conv2d(2 * latentChannels, 2 * latentChannels, { kernelSize: 1 })
      : null;
    this.postQuantConv = config.usePostQuantConv
      ? new Conv2d(latentChannels, latentChannels, { kernelSize: 1 })
      : null;
    this.config = config;
  }

  /** Loads like {@link Module.load}, and also understands the attention's old names (`query`, `proj_attn`). */
  override async load(
    tensors: Iterable<readonly [string, MxArray]>,
    options: LoadOptions = {},
  ): Promise<void> {
    await super.load(withNewAttentionNames(tensors), options);
  }

  /**
   * Encodes images lazily: the mode of the posterior.
   * @param images `[b, h, w, 3]` in −1 to 1
   * @returns unscaled latents `[b, h/8, w/8, latentChannels]`, where 8 is {@link reductionOf} the config
   */
  encode(images: MxArray): MxArray {
    return lazily(this.encodeStages(images));
  }

  /** Decodes lazily: unscaled latents `[b, h/8, w/8, latentChannels]` → images `[b, h, w, 3]`, about −1 to 1. */
  decode(latents: MxArray): MxArray {
    return lazily(this.decodeStages(latents));
  }

  /**
   * Encodes layer by layer, see {@link encode}. The images must outlive it.
   * @param limit bytes that the maps between layers may take. Larger maps are computed in bands of rows, which gives
   * the same result but takes longer.
   */
  *encodeStages(images: MxArray, limit?: number): Stages {
    return yield* this.through(this.encoding(), images, limit);
  }

  /**
   * Decodes layer by layer, see {@link decode}. The latents must outlive it.
   * @param limit as for {@link encodeStages}
   */
  *decodeStages(latents: MxArray, limit?: number): Stages {
    return yield* this.through(this.decoding(), latents, limit);
  }

  /** The layers of encoding, in order. */
  encoding(): Layer[] {
    const { quantConv, config } = this;
    // The mode of a normal distribution is its mean, the first half of the channels.
    const mode: Layer = {
      forward: (x) => slice(x, [null, null, null, [0, config.latentChannels]]),
      maps: 1,
      channels: config.latentChannels,
    };
    return [...this.encoder.layers(), ...(quantConv ? [single({ conv: quantConv })] : []), mode];
  }

  /** The layers of decoding, in order. */
  decoding(): Layer[] {
    const { postQuantConv } = this;
    return [...(postQuantConv ? [single({ conv: postQuantConv })] : []), ...this.decoder.layers()];
  }

  private *through(layers: readonly Layer[], input: MxArray, limit?: number): Stages {
    let x = astype(input, this.encoder.convIn.weight.dtype);
    const arithmetic = {
      // Per element of a map, for all images of the batch together.
      bytes: x.nbytes / elementsOf(sizeOf(x)),
      fused: runsFused(x.dtype, defaultDevice()),
    };
    const { groups } = planLayers(layers.map(shapeOfLayer), sizeOf(x), arithmetic, limit);
    for (const { from, to, bands } of groups) {
      if (bands > 0) {
        using whole = x;
        x = yield* inBands([layers.slice(from, to).flatMap(({ ops }) => ops ?? [])], whole, bands);
      } else x = yield* consuming([x], (whole) => layers[from]!.forward(whole));
    }
    return x;
  }
}

/** The memory of an autoencoder's computations. It follows from the shapes of the layers, so it needs no weights. */
export class AutoencoderMemory {
  readonly #config: AutoencoderConfig;
  readonly #encoding: readonly LayerShape[];
  readonly #decoding: readonly LayerShape[];

  constructor(config: AutoencoderConfig) {
    using network = new Autoencoder(config);
    this.#config = config;
    this.#encoding = network.encoding().map(shapeOfLayer);
    this.#decoding = network.decoding().map(shapeOfLayer);
  }

  /** Bytes that encoding an image of this size takes in addition to the weights; within `limit` if possible. */
  encodingBytes(height: number, width: number, arithmetic: Arithmetic, limit?: number): number {
    const input = { height, width, channels: this.#config.inChannels };
    return planLayers(this.#encoding, input, arithmetic, limit).work;
  }

  /** Bytes that decoding to an image of this size takes in addition to the weights; within `limit` if possible. */
  decodingBytes(height: number, width: number, arithmetic: Arithmetic, limit?: number): number {
    const factor = reductionOf(this.#config);
    const input = { height: height / factor, width: width / factor, channels: this.#config.latentChannels };
    return planLayers(this.#decoding, input, arithmetic, limit).work;
  }
}

const oldAttentionNames: ReadonlyMap<string, string> = new Map([
  ["query", "to_q"],
  ["key", "to_k"],
  ["value", "to_v"],
  ["proj_attn", "to_out.0"],
]);

function* withNewAttentionNames(
  tensors: Iterable<readonly [string, MxArray]>,
): Generator<readonly [string, MxArray]> {
  for (const [key, tensor] of tensors)
    yield [
      key.replace(
        /(\.attentions\.\d+\.)(query|key|value|proj_attn)\./,
        (_, prefix: string, name: string) => `${prefix}${oldAttentionNames.get(name)}.`,
      ),
      tensor,
    ];
}
