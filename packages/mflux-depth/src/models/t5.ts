import {
  add,
  array,
  astype,
  type DType,
  expandDims,
  type MxArray,
  multiply,
  reshape,
  scope,
  transpose,
} from "@mflux-depth/mlx";
import {
  attention,
  Embedding,
  Linear,
  type LoadOptions,
  lazily,
  Module,
  RMSNorm,
  relu,
  type Stages,
} from "@mflux-depth/mlx/nn";
import { ConfigReader } from "./config.js";
import { type TokenIds, tokenRows } from "./token-ids.js";

/*
 * T5's encoder (Raffel et al., 2020; transformers: models/t5/modeling_t5.py, whose names the properties have):
 * attention without scaling or mask and with a learned bias by distance, RMS norms, no biases anywhere.
 * Padding is not masked: it is part of what FLUX was trained on.
 * Notation: B batch, T tokens, D model width.
 */

// ---------------------------------------------------------------- config

export interface T5Config {
  vocabSize: number;
  dModel: number;
  /** Width of a head; heads times it need not be the model's width. */
  dKv: number;
  dFf: number;
  numLayers: number;
  numHeads: number;
  relativeAttentionNumBuckets: number;
  relativeAttentionMaxDistance: number;
  layerNormEpsilon: number;
  /** "relu" (T5) or GELU by tanh with a gate (T5 1.1). */
  feedForwardProj: "relu" | "gated-gelu";
}

/**
 * Reads a `text_encoder_2/config.json`.
 * @param source the file, for messages
 * @throws {ModelError} when its values cannot be, or do not fit together.
 */
export function t5Config(json: unknown, source = "text_encoder_2/config.json"): T5Config {
  const reader = new ConfigReader(json, "a T5 encoder", source);
  const config: T5Config = {
    vocabSize: reader.count("vocab_size", 32128),
    dModel: reader.count("d_model", 512),
    dKv: reader.count("d_kv", 64),
    dFf: reader.count("d_ff", 2048),
    numLayers: reader.count("num_layers", 6),
    numHeads: reader.count("num_heads", 8),
    relativeAttentionNumBuckets: reader.count("relative_attention_num_buckets", 32),
    relativeAttentionMaxDistance: reader.count("relative_attention_max_distance", 128),
    layerNormEpsilon: reader.number("layer_norm_epsilon", 1e-6),
    feedForwardProj: reader.oneOf("feed_forward_proj", ["relu", "gated-gelu"], "relu"),
  };
  const { relativeAttentionNumBuckets: buckets, relativeAttentionMaxDistance: distance } = config;
  if (buckets % 4 !== 0 || distance <= buckets / 4)
    reader.fail(
      `"relative_attention_num_buckets" ${buckets} must be a multiple of 4, and less than four times ` +
        `"relative_attention_max_distance" ${distance}`,
    );
  return config;
}

// ---------------------------------------------------------------- positions

/**
 * The bucket of each pair of positions, row by row `[tokens (query), tokens (key)]`: half of the buckets for keys
 * behind the query and half for those before it; half of each for single distances, the rest for ranges that grow
 * with the logarithm.
 */
export function relativePositionBuckets(tokens: number, buckets: number, maxDistance: number): Int32Array {
  const side = buckets / 2;
  const exact = side / 2;
  const bucketOf = (distance: number): number => {
    if (distance < exact) return distance;
    const share = Math.log(distance / exact) / Math.log(maxDistance / exact);
    return Math.min(side - 1, exact + Math.floor(share * (side - exact)));
  };
  const ofDistance = Int32Array.from({ length: tokens }, (_, distance) => bucketOf(distance));
  const result = new Int32Array(tokens * tokens);
  for (let query = 0; query < tokens; query++)
    for (let key = 0; key < tokens; key++)
      result[query * tokens + key] = ofDistance[Math.abs(key - query)]! + (key > query ? side : 0);
  return result;
}

// ---------------------------------------------------------------- layers

/** `x / rms(x) * weight`, statistics in float32, rounded to the weight's dtype when that has 16 bits. */
class T5LayerNorm extends RMSNorm {
  override forward(x: MxArray): MxArray {
    return astype(super.forward(x), this.weight.dtype);
  }
}

class SelfAttention extends Module {
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;
  /** Only the first block has one; all use it. */
  readonly relativeAttentionBias: Embedding | null;
  readonly #heads: number;
  readonly #headDim: number;

  constructor(config: T5Config, hasBias: boolean) {
    super();
    const { dModel, numHeads, dKv } = config;
    this.q = new Linear(dModel, numHeads * dKv, { bias: false });
    this.k = new Linear(dModel, numHeads * dKv, { bias: false });
    this.v = new Linear(dModel, numHeads * dKv, { bias: false });
    this.o = new Linear(numHeads * dKv, dModel, { bias: false });
    this.relativeAttentionBias = hasBias ? new Embedding(config.relativeAttentionNumBuckets, numHeads) : null;
    this.#heads = numHeads;
    this.#headDim = dKv;
  }

  /** `[B, T, D]` and what is added to the scores, `[1, heads, T, T]` → `[B, T, D]`. */
  forward(x: MxArray, bias: MxArray): MxArray {
    const [batch, tokens] = x.shape as [number, number, number];
    const perHead = (projected: MxArray): MxArray =>
      transpose(reshape(projected, [batch, tokens, this.#heads, this.#headDim]), [0, 2, 1, 3]);
    const attended = attention(
      perHead(this.q.forward(x)),
      perHead(this.k.forward(x)),
      perHead(this.v.forward(x)),
      { scale: 1, mask: bias },
    );
    const joined = reshape(transpose(attended, [0, 2, 1, 3]), [batch, tokens, this.#heads * this.#headDim]);
    return this.o.forward(joined);
  }
}

class AttentionLayer extends Module {
  readonly SelfAttention: SelfAttention;
  readonly layerNorm: T5LayerNorm;

  constructor(config: T5Config, hasBias: boolean) {
    super();
    this.SelfAttention = new SelfAttention(config, hasBias);
    this.layerNorm = new T5LayerNorm(config.dModel, { eps: config.layerNormEpsilon });
  }

  /** `[B, T, D]` and the scores' bias → `[B, T, D]`. */
  forward(x: MxArray, bias: MxArray): MxArray {
    return add(x, this.SelfAttention.forward(this.layerNorm.forward(x), bias));
  }
}

/** The projection back to the model's width; from float16 in float32, whose range the sums of T5-XXL need. */
const projectBack = (wo: Linear, x: MxArray): MxArray =>
  wo.forward(x.dtype === "float16" ? astype(x, "float32") : x);

class DenseRelu extends Module {
  readonly wi: Linear;
  readonly wo: Linear;

  constructor({ dModel, dFf }: T5Config) {
    super();
    this.wi = new Linear(dModel, dFf, { bias: false });
    this.wo = new Linear(dFf, dModel, { bias: false });
  }

  /** `[B, T, D]` → `[B, T, D]`. */
  forward(x: MxArray): MxArray {
    return projectBack(this.wo, relu(this.wi.forward(x)));
  }
}

class DenseGatedGelu extends Module {
  readonly wi0: Linear;
  readonly wi1: Linear;
  readonly wo: Linear;

  constructor({ dModel, dFf }: T5Config) {
    super();
    this.wi0 = new Linear(dModel, dFf, { bias: false });
    this.wi1 = new Linear(dModel, dFf, { bias: false });
    this.wo = new Linear(dFf, dModel, { bias: false });
  }

  /** `[B, T, D]` → `[B, T, D]`. */
  forward(x: MxArray): MxArray {
    return projectBack(this.wo, multiply(this.wi0.forward(x, "geluTanh"), this.wi1.forward(x)));
  }
}

class FeedForwardLayer extends Module {
  /** So the files call it, whatever the activation. */
  readonly DenseReluDense: DenseRelu | DenseGatedGelu;
  readonly layerNorm: T5LayerNorm;

  constructor(config: T5Config) {
    super();
    this.DenseReluDense =
      config.feedForwardProj === "relu" ? new DenseRelu(config) : new DenseGatedGelu(config);
    this.layerNorm = new T5LayerNorm(config.dModel, { eps: config.layerNormEpsilon });
  }

  /** `[B, T, D]` → `[B, T, D]`. */
  forward(x: MxArray): MxArray {
    return add(x, this.DenseReluDense.forward(this.layerNorm.forward(x)));
  }
}

class Block extends Module {
  readonly layer: [AttentionLayer, FeedForwardLayer];

  constructor(config: T5Config, hasBias: boolean) {
    super();
    this.layer = [new AttentionLayer(config, hasBias), new FeedForwardLayer(config)];
  }

  /** `[B, T, D]` and the scores' bias → `[B, T, D]`. */
  forward(x: MxArray, bias: MxArray): MxArray {
    const [attend, feedForward] = this.layer;
    return feedForward.forward(attend.forward(x, bias));
  }
}

class Stack extends Module {
  readonly block: Block[];
  readonly finalLayerNorm: T5LayerNorm;

  constructor(config: T5Config) {
    super();
    this.block = Array.from({ length: config.numLayers }, (_, index) => new Block(config, index === 0));
    this.finalLayerNorm = new T5LayerNorm(config.dModel, { eps: config.layerNormEpsilon });
  }
}

// ---------------------------------------------------------------- model

/** The encoder half of a T5. */
export class T5Encoder extends Module {
  /** The token embeddings, which a whole T5 shares with its decoder. */
  readonly shared: Embedding;
  readonly encoder: Stack;
  readonly config: T5Config;

  constructor(config: T5Config) {
    super();
    this.config = config;
    this.shared = new Embedding(config.vocabSize, config.dModel);
    this.encoder = new Stack(config);
  }

  /**
   * The name by which `load` knows a tensor of a file; null for what belongs to a T5's decoder. The embeddings are
   * `shared.weight`, `encoder.embed_tokens.weight`, or the same under both names.
   */
  static sanitize(key: string): string | null {
    if (/^(decoder|lm_head)\./.test(key)) return null;
    return key.replace(/^encoder\.embed_tokens\./, "shared.");
  }

  /** As every module's; embeddings that come under both names are taken once. */
  override async load(
    tensors: Iterable<readonly [string, MxArray]>,
    options: LoadOptions = {},
  ): Promise<void> {
    await super.load(embeddedOnce(tensors), options);
  }

  /** What the layers compute with. */
  get dtype(): DType {
    return this.encoder.finalLayerNorm.weight.dtype;
  }

  /**
   * ids `[B, T]` (a typed array is one row) → `[B, T, D]`.
   * @throws {MlxError} when an id is not in the vocabulary.
   */
  forward(ids: TokenIds): MxArray {
    return scope(() => lazily(this.stages(ids)));
  }

  /** {@link forward} block by block. */
  *stages(ids: TokenIds): Stages {
    const rows = tokenRows(ids, "T5Encoder", this.config);
    // The residual stream of a float16 T5 leaves float16's range; the layers' norms bring it back.
    const residual = this.dtype === "float16" ? "float32" : this.dtype;
    let hidden = scope(() => astype(this.shared.forward(array(rows, { dtype: "int32" })), residual));
    const bias = scope(() => this.positionBias(rows[0]!.length));
    try {
      for (const block of this.encoder.block) {
        const next = scope(() => block.forward(hidden, bias));
        hidden.dispose();
        hidden = next;
        yield [hidden];
      }
      return scope(() => this.encoder.finalLayerNorm.forward(hidden));
    } finally {
      hidden.dispose();
      bias.dispose();
    }
  }

  /** What is added to the scores of every block, `[1, heads, tokens, tokens]`. */
  private positionBias(tokens: number): MxArray {
    const { relativeAttentionNumBuckets, relativeAttentionMaxDistance } = this.config;
    const table = this.encoder.block[0]!.layer[0].SelfAttention.relativeAttentionBias!;
    const buckets = relativePositionBuckets(
      tokens,
      relativeAttentionNumBuckets,
      relativeAttentionMaxDistance,
    );
    const values = table.forward(array(buckets, { shape: [tokens, tokens] }));
    return expandDims(transpose(values, [2, 0, 1]), 0);
  }
}

function* embeddedOnce(
  tensors: Iterable<readonly [string, MxArray]>,
): Generator<readonly [string, MxArray], void> {
  let seen = false;
  for (const [key, tensor] of tensors) {
    const embedding = key === "shared.weight";
    if (embedding && seen) tensor.dispose();
    else yield [key, tensor];
    seen ||= embedding;
  }
}
