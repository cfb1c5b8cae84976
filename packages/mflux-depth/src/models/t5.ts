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
 * T5's encoder (Raffel et al., 2020; transformers: models/t5/modeling_t5.py): attention without scaling, but with a
 * learned bias for each distance between tokens; RMS norms; linear layers without bias. Padding is not masked, because
 * FLUX was trained that way. Properties are named after the checkpoint's keys.
 * Notation: B batch, T tokens, D model width.
 */

// ---------------------------------------------------------------- config

/** The values of a T5's config, under the names of transformers. */
export interface T5Config {
  vocabSize: number;
  dModel: number;
  /** Width of a head. `numHeads · dKv` may differ from `dModel`. */
  dKv: number;
  dFf: number;
  numLayers: number;
  numHeads: number;
  relativeAttentionNumBuckets: number;
  relativeAttentionMaxDistance: number;
  layerNormEpsilon: number;
  /** "relu" in T5; "gated-gelu", with the tanh approximation, in T5 1.1. */
  feedForwardProj: "relu" | "gated-gelu";
}

/**
 * Reads a `text_encoder_2/config.json`. Missing values get transformers' defaults.
 * @param source the file, for messages.
 * @throws {ModelError} when a value is invalid, or values contradict each other.
 */
export function t5Config(json: unknown, source: string): T5Config {
  const reader = new ConfigReader(json, "a T5 encoder", source);
  const config: T5Config = {
    vocabSize: reader.count("vocab_size", 32128),
    dModel: reader.count("d_model", 512),
    dKv: reader.count("d_kv", 64),
    dFf: reader.count("d_ff", 2048),
    numLayers: reader.layers("num_layers", 6),
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
 * The bucket of the relative position of each query and key, `[query tokens, key tokens]` row by row. Half of the buckets
 * are for keys at or before the query, half for keys after it. Of each half, one half holds single distances, the other
 * ranges that grow with the logarithm of the distance, up to `maxDistance`.
 * (transformers: T5Attention._relative_position_bucket.)
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

/** `x / rms(x) · weight` `[B, T, D]`: statistics in float32, result in the dtype of the weight. */
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
  /** The first block's bias, which all blocks use; null in the others. */
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

  /** `x [B, T, D]`, `bias [1, heads, T, T]`, which is added to the scores → `[B, T, D]`. */
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

  /** `x [B, T, D]`, `bias [1, heads, T, T]` → `[B, T, D]`. */
  forward(x: MxArray, bias: MxArray): MxArray {
    return add(x, this.SelfAttention.forward(this.layerNorm.forward(x), bias));
  }
}

/** Projects back to the model's width. In float16 it computes in float32, because the sums of T5-XXL exceed float16. */
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
  /** The checkpoint's name for it, whatever the activation. */
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

  /** `x [B, T, D]`, `bias [1, heads, T, T]` → `[B, T, D]`. */
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

/** The encoder half of T5. */
export class T5Encoder extends Module {
  /** The token embeddings, which a complete T5 shares between encoder and decoder. */
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
   * Translates a checkpoint's tensor name into this module's. The embeddings are called `shared.weight` or
   * `encoder.embed_tokens.weight`; some checkpoints have them under both names.
   * @returns null for tensors of the decoder.
   */
  static sanitize(key: string): string | null {
    if (/^(decoder|lm_head)\./.test(key)) return null;
    return key.replace(/^encoder\.embed_tokens\./, "shared.");
  }

  /** Loads weights as every module does. Embeddings that come under both names are loaded once. */
  override async load(
    tensors: Iterable<readonly [string, MxArray]>,
    options: LoadOptions = {},
  ): Promise<void> {
    await super.load(embeddedOnce(tensors), options);
  }

  /** The dtype that the layers compute in. */
  get dtype(): DType {
    return this.encoder.finalLayerNorm.weight.dtype;
  }

  /**
   * Computes prompt embeddings: token ids `[B, T]`, or a typed array for a single text → `[B, T, D]`.
   * @throws {MlxError} when an id is not in the vocabulary.
   */
  forward(ids: TokenIds): MxArray {
    return scope(() => lazily(this.stages(ids)));
  }

  /** Computes {@link forward} block by block. */
  *stages(ids: TokenIds): Stages {
    const rows = tokenRows(ids, "T5Encoder", this.config);
    // With float16 weights, the residual stream exceeds the range of float16; the layers' norms bring it back.
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

  /** The bias that is added to the scores of every block, `[1, heads, T, T]`. */
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

/** Passes tensors on, except a second copy of the embeddings, which it disposes. */
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

/**
 * Estimates the bytes that T5 computes with, weights excluded: hidden states, both halves of the feed-forward, the
 * attention scores of a group of heads, and the position bias.
 */
export function t5WorkingBytes(
  { dModel, dFf, numHeads }: T5Config,
  tokens: number,
  bytesPerValue: number,
): number {
  const scores = 4 * numHeads * tokens * tokens;
  return bytesPerValue * tokens * (6 * dModel + 4 * dFf) + 2 * Math.min(scores, 64e6) + scores + 1e6;
}
