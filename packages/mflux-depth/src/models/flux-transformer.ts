import { astype, clip, type MxArray, reshape, scope, slice, split, swapaxes } from "@mflux-depth/mlx";
import {
  DotProductAttention,
  gatedAdd,
  joined,
  LayerNorm,
  Linear,
  LinearInput,
  lazily,
  Module,
  RMSNorm,
  type RotaryTables,
  rotaryHeads,
  type Stages,
  silu,
} from "@mflux-depth/mlx/nn";
import { ConfigReader } from "./config.js";
import { TimeTextEmbed } from "./flux-conditioning.js";

/*
 * The FLUX.1 transformer (Black Forest Labs: flux/model.py; diffusers: models/transformers/transformer_flux.py). In
 * double blocks, image and text have separate weights and attend jointly; in single blocks, they are one sequence.
 * Properties are named after diffusers' keys.
 * Notation: B batch, N image tokens, T text tokens, D = heads · head_dim.
 */

// ---------------------------------------------------------------- config

/** The values of a FLUX transformer's config, under the names of diffusers. */
export interface FluxTransformerConfig {
  /** Channels of an image token: those of packed latents and, in FLUX.1 Depth, as many of control latents. */
  inChannels: number;
  outChannels: number;
  numLayers: number;
  numSingleLayers: number;
  attentionHeadDim: number;
  numAttentionHeads: number;
  jointAttentionDim: number;
  pooledProjectionDim: number;
  guidanceEmbeds: boolean;
  /**
   * The channels of a head that encode each axis of a position: first an axis that is 0 for every token, then row and
   * column.
   */
  axesDimsRope: number[];
}

/**
 * Reads a `transformer/config.json`. Missing values get diffusers' defaults.
 * @param source the file, for messages.
 * @throws {ModelError} when it is the config of another network, or values contradict each other.
 */
export function fluxTransformerConfig(json: unknown, source: string): FluxTransformerConfig {
  const reader = new ConfigReader(json, "a FLUX transformer", source);
  reader.className("FluxTransformer2DModel");
  reader.only("patch_size", 1);
  const inChannels = reader.count("in_channels", 64);
  const config: FluxTransformerConfig = {
    inChannels,
    outChannels: reader.count("out_channels", null) ?? inChannels,
    numLayers: reader.layers("num_layers", 19),
    numSingleLayers: reader.layers("num_single_layers", 38),
    attentionHeadDim: reader.count("attention_head_dim", 128),
    numAttentionHeads: reader.count("num_attention_heads", 24),
    jointAttentionDim: reader.count("joint_attention_dim", 4096),
    pooledProjectionDim: reader.count("pooled_projection_dim", 768),
    guidanceEmbeds: reader.flag("guidance_embeds", false),
    axesDimsRope: reader.counts("axes_dims_rope", [16, 56, 56]),
  };
  const { axesDimsRope, attentionHeadDim } = config;
  if (axesDimsRope.length !== 3 || axesDimsRope.some((dims) => dims % 2 !== 0))
    reader.fail(
      `"axes_dims_rope" is ${JSON.stringify(axesDimsRope)}; a FLUX transformer needs three even numbers`,
    );
  const sum = axesDimsRope.reduce((total, dims) => total + dims, 0);
  if (sum !== attentionHeadDim)
    reader.fail(
      `"axes_dims_rope" adds up to ${sum}, but "attention_head_dim" is ${attentionHeadDim}; they must be equal`,
    );
  return config;
}

// ---------------------------------------------------------------- layers

/** Clamps activations to the range of float16, which those of the text stream exceed. */
const withinFloat16 = (x: MxArray): MxArray => (x.dtype === "float16" ? clip(x, -65504, 65504) : x);

/** A LayerNorm without weights. */
const plainNorm = (dims: number): LayerNorm => new LayerNorm(dims, { eps: 1e-6, affine: false });

/**
 * The shifts, scales and gates that a block gets from time, guidance and pooled embeddings: `linear(condition)`, where
 * `condition` is the SiLU of their embedding.
 */
class Modulation extends Module {
  readonly linear: Linear;

  constructor(
    dims: number,
    private readonly count: number,
  ) {
    super();
    this.linear = new Linear(dims, count * dims);
  }

  /** `condition [B, D]` → `count` arrays `[B, 1, D]`. */
  forward(condition: MxArray): MxArray[] {
    const all = this.linear.forward(condition);
    return split(reshape(all, [all.shape[0]!, 1, -1]), this.count, -1);
  }
}

/** `[B, tokens, D]` → `[B, tokens, hidden]`. */
class GeluProjection extends Module {
  readonly proj: Linear;

  constructor(dims: number, hidden: number) {
    super();
    this.proj = new Linear(dims, hidden);
  }

  forward(x: MxArray): MxArray {
    return this.proj.forward(x, "geluTanh");
  }
}

/** `[B, tokens, D]` → the same shape. */
class FeedForward extends Module {
  /** The null stands for diffusers' dropout. */
  readonly net: readonly [GeluProjection, null, Linear];

  constructor(dims: number) {
    super();
    this.net = [new GeluProjection(dims, 4 * dims), null, new Linear(4 * dims, dims)];
  }

  forward(x: MxArray): MxArray {
    return this.net[2].forward(this.net[0].forward(x));
  }
}

/** `[B, tokens, D]` → `[B, heads, tokens, head_dim]`. */
const intoHeads = (x: MxArray, heads: number): MxArray =>
  swapaxes(reshape(x, [x.shape[0]!, x.shape[1]!, heads, -1]), 1, 2);

/** `[B, heads, tokens, head_dim]` → `[B, tokens, D]`. */
const outOfHeads = (x: MxArray): MxArray =>
  reshape(swapaxes(x, 1, 2), [x.shape[0]!, x.shape[2]!, x.shape[1]! * x.shape[3]!]);

const qkEps = 1e-6;

/** The projections and norms that both kinds of attention have: those of the image, or of the joint sequence. */
abstract class Attention extends Module {
  readonly normQ: RMSNorm;
  readonly normK: RMSNorm;
  readonly toQ: Linear;
  readonly toK: Linear;
  readonly toV: Linear;
  protected readonly heads: number;
  protected readonly dotProduct: DotProductAttention;

  constructor({ numAttentionHeads: heads, attentionHeadDim: headDim }: FluxTransformerConfig) {
    super();
    const dims = heads * headDim;
    this.normQ = new RMSNorm(headDim, { eps: qkEps });
    this.normK = new RMSNorm(headDim, { eps: qkEps });
    this.toQ = new Linear(dims, dims);
    this.toK = new Linear(dims, dims);
    this.toV = new Linear(dims, dims);
    this.heads = heads;
    this.dotProduct = new DotProductAttention(headDim ** -0.5);
  }
}

/** Attention within the joint sequence, without output projection. */
class SingleAttention extends Attention {
  /** `[B, T + N, D]` → the same shape. */
  forward(x: LinearInput, rotary: RotaryTables): MxArray {
    const { heads } = this;
    const q = rotaryHeads(this.toQ.forward(x), this.normQ, heads, rotary, 0);
    const k = rotaryHeads(this.toK.forward(x), this.normK, heads, rotary, 0);
    const v = intoHeads(this.toV.forward(x), heads);
    return outOfHeads(this.dotProduct.forward(q, k, v));
  }
}

/** Attention of image and text, each with its own projections, over the joint sequence. */
class JointAttention extends Attention {
  readonly toOut: readonly [Linear];
  readonly addQProj: Linear;
  readonly addKProj: Linear;
  readonly addVProj: Linear;
  readonly normAddedQ: RMSNorm;
  readonly normAddedK: RMSNorm;
  readonly toAddOut: Linear;

  constructor(config: FluxTransformerConfig) {
    super(config);
    const { numAttentionHeads: heads, attentionHeadDim: headDim } = config;
    const dims = heads * headDim;
    this.toOut = [new Linear(dims, dims)];
    this.addQProj = new Linear(dims, dims);
    this.addKProj = new Linear(dims, dims);
    this.addVProj = new Linear(dims, dims);
    this.normAddedQ = new RMSNorm(headDim, { eps: qkEps });
    this.normAddedK = new RMSNorm(headDim, { eps: qkEps });
    this.toAddOut = new Linear(dims, dims);
  }

  /** `image [B, N, D]`, `text [B, T, D]` → both, in the same shapes. */
  forward(image: LinearInput, text: LinearInput, rotary: RotaryTables): { image: MxArray; text: MxArray } {
    const { heads } = this;
    const textTokens = text.shape[1]!;
    const textQ = rotaryHeads(this.addQProj.forward(text), this.normAddedQ, heads, rotary, 0);
    const textK = rotaryHeads(this.addKProj.forward(text), this.normAddedK, heads, rotary, 0);
    const textV = intoHeads(this.addVProj.forward(text), heads);
    const imageQ = rotaryHeads(this.toQ.forward(image), this.normQ, heads, rotary, textTokens);
    const imageK = rotaryHeads(this.toK.forward(image), this.normK, heads, rotary, textTokens);
    const imageV = intoHeads(this.toV.forward(image), heads);

    const q = joined([textQ, imageQ], 2);
    const k = joined([textK, imageK], 2);
    const v = joined([textV, imageV], 2);
    const attended = outOfHeads(this.dotProduct.forward(q, k, v));

    const [ofText, ofImage] = split(attended, [textTokens], 1) as [MxArray, MxArray];
    return { image: this.toOut[0].forward(ofImage), text: this.toAddOut.forward(ofText) };
  }
}

// ---------------------------------------------------------------- blocks

/** Image and text as two streams that meet in attention. */
class DoubleBlock extends Module {
  readonly norm1: Modulation;
  readonly norm1Context: Modulation;
  readonly attn: JointAttention;
  readonly ff: FeedForward;
  readonly ffContext: FeedForward;
  /** All LayerNorms share one module, because they have no weights. */
  private readonly norm: LayerNorm;

  constructor(dims: number, config: FluxTransformerConfig) {
    super();
    this.norm1 = new Modulation(dims, 6);
    this.norm1Context = new Modulation(dims, 6);
    this.attn = new JointAttention(config);
    this.ff = new FeedForward(dims);
    this.ffContext = new FeedForward(dims);
    this.norm = plainNorm(dims);
  }

  /** `image [B, N, D]`, `text [B, T, D]`, `condition [B, D]` → image and text, in the same shapes. */
  forward(
    image: MxArray,
    text: MxArray,
    condition: MxArray,
    rotary: RotaryTables,
  ): { image: MxArray; text: MxArray } {
    const [shift, scale, gate, mlpShift, mlpScale, mlpGate] = this.norm1.forward(condition) as Six;
    const [textShift, textScale, textGate, textMlpShift, textMlpScale, textMlpGate] =
      this.norm1Context.forward(condition) as Six;

    const attended = this.attn.forward(
      new LinearInput(this.norm.modulated(image, scale, shift)),
      new LinearInput(this.norm.modulated(text, textScale, textShift)),
      rotary,
    );

    const image1 = gatedAdd(image, gate, attended.image);
    const imageFf = this.ff.forward(this.norm.modulated(image1, mlpScale, mlpShift));
    const text1 = gatedAdd(text, textGate, attended.text);
    const textFf = this.ffContext.forward(this.norm.modulated(text1, textMlpScale, textMlpShift));
    return {
      image: gatedAdd(image1, mlpGate, imageFf),
      text: withinFloat16(gatedAdd(text1, textMlpGate, textFf)),
    };
  }
}

type Six = [MxArray, MxArray, MxArray, MxArray, MxArray, MxArray];

/** Text and image as one sequence, with attention and MLP in parallel. */
class SingleBlock extends Module {
  readonly norm: Modulation;
  readonly projMlp: Linear;
  readonly projOut: Linear;
  readonly attn: SingleAttention;
  private readonly layerNorm: LayerNorm;

  constructor(dims: number, config: FluxTransformerConfig) {
    super();
    this.norm = new Modulation(dims, 3);
    this.projMlp = new Linear(dims, 4 * dims);
    this.projOut = new Linear(5 * dims, dims);
    this.attn = new SingleAttention(config);
    this.layerNorm = plainNorm(dims);
  }

  /** `x [B, T + N, D]`, `condition [B, D]` → the shape of `x`. */
  forward(x: MxArray, condition: MxArray, rotary: RotaryTables): MxArray {
    const [shift, scale, gate] = this.norm.forward(condition) as [MxArray, MxArray, MxArray];
    const normed = new LinearInput(this.layerNorm.modulated(x, scale, shift));
    const mlp = this.projMlp.forward(normed, "geluTanh");
    const attended = this.attn.forward(normed, rotary);
    const out = this.projOut.forward(new LinearInput(attended, mlp));
    return withinFloat16(gatedAdd(x, gate, out));
  }
}

// ---------------------------------------------------------------- the transformer

/** The inputs of the transformer, under the names of diffusers. */
export interface FluxTransformerInputs {
  /** Image tokens, `[B, N, inChannels]`: packed latents, in FLUX.1 Depth joined with control latents on the last axis. */
  hiddenStates: MxArray;
  /** Prompt embeddings from T5, `[B, T, jointAttentionDim]`. */
  encoderHiddenStates: MxArray;
  /** Pooled embeddings from CLIP, `[B, pooledProjectionDim]`. */
  pooledProjections: MxArray;
  /** The noise level of the whole batch, 0 to 1. */
  timestep: number;
  /** Guidance scale. Models without a guidance embedder ignore it. */
  guidance: number;
  /** {@link rotaryTables} for this number of text tokens and size of image. */
  rotary: RotaryTables;
}

/** The FLUX.1 transformer: predicts the velocity of latents at a noise level. */
export class FluxTransformer extends Module {
  readonly xEmbedder: Linear;
  readonly contextEmbedder: Linear;
  readonly timeTextEmbed: TimeTextEmbed;
  readonly transformerBlocks: readonly DoubleBlock[];
  readonly singleTransformerBlocks: readonly SingleBlock[];
  readonly normOut: Modulation;
  readonly projOut: Linear;
  readonly config: FluxTransformerConfig;
  private readonly norm: LayerNorm;

  constructor(config: FluxTransformerConfig) {
    super();
    const dims = config.numAttentionHeads * config.attentionHeadDim;
    this.xEmbedder = new Linear(config.inChannels, dims);
    this.contextEmbedder = new Linear(config.jointAttentionDim, dims);
    this.timeTextEmbed = new TimeTextEmbed(dims, config);
    this.transformerBlocks = Array.from({ length: config.numLayers }, () => new DoubleBlock(dims, config));
    this.singleTransformerBlocks = Array.from(
      { length: config.numSingleLayers },
      () => new SingleBlock(dims, config),
    );
    this.normOut = new Modulation(dims, 2);
    this.projOut = new Linear(dims, config.outChannels);
    this.config = config;
    this.norm = plainNorm(dims);
  }

  /** The number of blocks, and of yields in {@link stages}. */
  get blocks(): number {
    return this.transformerBlocks.length + this.singleTransformerBlocks.length;
  }

  /** Predicts the velocity at every image token: `[B, N, outChannels]`, lazy, in the dtype of the weights. */
  forward(inputs: FluxTransformerInputs): MxArray {
    return lazily(this.stages(inputs));
  }

  /** Computes {@link forward} block by block: yields after each of the {@link blocks}. The inputs must outlive it. */
  *stages(inputs: FluxTransformerInputs): Stages {
    const { rotary } = inputs;
    const start = scope(() => this.embed(inputs));
    const { condition } = start;
    let { image, text } = start;
    let joint: MxArray | null = null;
    try {
      for (const block of this.transformerBlocks) {
        const next = scope(() => block.forward(image, text, condition, rotary));
        image.dispose();
        text.dispose();
        ({ image, text } = next);
        yield [image, text, condition];
      }
      joint = joined([text, image], 1);
      const textTokens = text.shape[1]!;
      text.dispose();
      image.dispose();
      for (const block of this.singleTransformerBlocks) {
        const current: MxArray = joint;
        joint = scope(() => block.forward(current, condition, rotary));
        current.dispose();
        yield [joint, condition];
      }
      const last = joint;
      return scope(() => this.unembed(slice(last, [null, [textTokens, null]]), condition));
    } finally {
      for (const held of [image, text, condition, joint]) held?.dispose();
    }
  }

  /** Embeds the inputs: `image [B, N, D]`, `text [B, T, D]`, `condition [B, D]`. */
  private embed(inputs: FluxTransformerInputs): { image: MxArray; text: MxArray; condition: MxArray } {
    const { dtype } = this.xEmbedder;
    const image = this.xEmbedder.forward(astype(inputs.hiddenStates, dtype));
    const text = this.contextEmbedder.forward(astype(inputs.encoderHiddenStates, dtype));
    const pooled = astype(inputs.pooledProjections, dtype);
    // Every modulation takes the SiLU of the same embedding.
    const condition = silu(this.timeTextEmbed.forward(inputs.timestep, inputs.guidance, pooled));
    return { image, text, condition };
  }

  /** `image [B, N, D]`, `condition [B, D]` → velocity `[B, N, outChannels]`. */
  private unembed(image: MxArray, condition: MxArray): MxArray {
    const [scale, shift] = this.normOut.forward(condition) as [MxArray, MxArray];
    return this.projOut.forward(this.norm.modulated(image, scale, shift));
  }
}

/**
 * Estimates the bytes of one block's activations, weights excluded. Measured: 21 times the hidden states, from 320 to
 * 2816 tokens.
 * @param tokens of the image and of the text.
 */
export const transformerWorkingBytes = (
  { attentionHeadDim, numAttentionHeads }: FluxTransformerConfig,
  tokens: number,
  bytesPerValue: number,
): number => 22 * bytesPerValue * tokens * attentionHeadDim * numAttentionHeads;
