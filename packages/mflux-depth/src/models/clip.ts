import { add, arange, array, type MxArray, reshape, scope, slice, stack, transpose } from "@mflux-depth/mlx";
import {
  type Activation,
  attention,
  Embedding,
  LayerNorm,
  Linear,
  lazily,
  Module,
  type Stages,
} from "@mflux-depth/mlx/nn";
import { ConfigReader } from "./config.js";
import { type TokenIds, tokenRows } from "./token-ids.js";

/*
 * CLIP's text encoder (Radford et al., 2021; transformers: models/clip/modeling_clip.py): a causal transformer with a
 * LayerNorm before each attention and each MLP. FLUX uses one vector of its output, the pooled embeddings. Properties
 * are named after the checkpoint's keys.
 * Notation: B batch, T tokens, D hidden size.
 */

// ---------------------------------------------------------------- config

/** The values of a CLIP text encoder's config, under the names of transformers. */
export interface ClipTextConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  maxPositionEmbeddings: number;
  layerNormEps: number;
  hiddenAct: "quick_gelu" | "gelu";
  eosTokenId: number;
}

/**
 * Reads a `text_encoder/config.json`, or the `text_config` of a whole CLIP. Missing values get transformers' defaults.
 * @param source the file, for messages.
 * @throws {ModelError} when a value is invalid, or values contradict each other.
 */
export function clipTextConfig(json: unknown, source: string): ClipTextConfig {
  const whole = json as { text_config?: unknown } | null;
  const reader = new ConfigReader(whole?.text_config ?? json, "a CLIP text encoder", source);
  const config: ClipTextConfig = {
    vocabSize: reader.count("vocab_size", 49408),
    hiddenSize: reader.count("hidden_size", 512),
    intermediateSize: reader.count("intermediate_size", 2048),
    numHiddenLayers: reader.layers("num_hidden_layers", 12),
    numAttentionHeads: reader.count("num_attention_heads", 8),
    maxPositionEmbeddings: reader.count("max_position_embeddings", 77),
    layerNormEps: reader.number("layer_norm_eps", 1e-5),
    hiddenAct: reader.oneOf("hidden_act", ["quick_gelu", "gelu"], "quick_gelu"),
    eosTokenId: reader.number("eos_token_id", 49407),
  };
  const { hiddenSize, numAttentionHeads } = config;
  if (hiddenSize % numAttentionHeads !== 0)
    reader.fail(
      `"hidden_size" ${hiddenSize} is not a multiple of "num_attention_heads" ${numAttentionHeads}`,
    );
  return config;
}

// ---------------------------------------------------------------- layers

class TextEmbeddings extends Module {
  readonly tokenEmbedding: Embedding;
  readonly positionEmbedding: Embedding;

  constructor(config: ClipTextConfig) {
    super();
    this.tokenEmbedding = new Embedding(config.vocabSize, config.hiddenSize);
    this.positionEmbedding = new Embedding(config.maxPositionEmbeddings, config.hiddenSize);
  }

  /** Token ids `[B, T]` → `[B, T, D]`. */
  forward(ids: MxArray): MxArray {
    const positions = arange(ids.shape[1]!, { dtype: "int32" });
    return add(this.tokenEmbedding.forward(ids), this.positionEmbedding.forward(positions));
  }
}

class CausalSelfAttention extends Module {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly outProj: Linear;
  readonly #heads: number;

  constructor({ hiddenSize, numAttentionHeads }: ClipTextConfig) {
    super();
    this.qProj = new Linear(hiddenSize, hiddenSize);
    this.kProj = new Linear(hiddenSize, hiddenSize);
    this.vProj = new Linear(hiddenSize, hiddenSize);
    this.outProj = new Linear(hiddenSize, hiddenSize);
    this.#heads = numAttentionHeads;
  }

  /** `[B, T, D]` → `[B, T, D]`. */
  forward(x: MxArray): MxArray {
    const [batch, tokens, width] = x.shape as [number, number, number];
    const headDim = width / this.#heads;
    const perHead = (projected: MxArray): MxArray =>
      transpose(reshape(projected, [batch, tokens, this.#heads, headDim]), [0, 2, 1, 3]);
    const attended = attention(
      perHead(this.qProj.forward(x)),
      perHead(this.kProj.forward(x)),
      perHead(this.vProj.forward(x)),
      { scale: headDim ** -0.5, mask: "causal" },
    );
    return this.outProj.forward(reshape(transpose(attended, [0, 2, 1, 3]), [batch, tokens, width]));
  }
}

class Mlp extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly #activation: Activation;

  constructor({ hiddenSize, intermediateSize, hiddenAct }: ClipTextConfig) {
    super();
    this.fc1 = new Linear(hiddenSize, intermediateSize);
    this.fc2 = new Linear(intermediateSize, hiddenSize);
    this.#activation = hiddenAct === "gelu" ? "gelu" : "quickGelu";
  }

  /** `[B, T, D]` → `[B, T, D]`. */
  forward(x: MxArray): MxArray {
    return this.fc2.forward(this.fc1.forward(x, this.#activation));
  }
}

class EncoderLayer extends Module {
  readonly layerNorm1: LayerNorm;
  readonly selfAttn: CausalSelfAttention;
  readonly layerNorm2: LayerNorm;
  readonly mlp: Mlp;

  constructor(config: ClipTextConfig) {
    super();
    this.layerNorm1 = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
    this.selfAttn = new CausalSelfAttention(config);
    this.layerNorm2 = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
    this.mlp = new Mlp(config);
  }

  /** `[B, T, D]` → `[B, T, D]`. */
  forward(x: MxArray): MxArray {
    const attended = add(x, this.selfAttn.forward(this.layerNorm1.forward(x)));
    return add(attended, this.mlp.forward(this.layerNorm2.forward(attended)));
  }
}

class Encoder extends Module {
  readonly layers: EncoderLayer[];

  constructor(config: ClipTextConfig) {
    super();
    this.layers = Array.from({ length: config.numHiddenLayers }, () => new EncoderLayer(config));
  }
}

// ---------------------------------------------------------------- model

/**
 * Finds the position in each text whose output represents the whole text: that of the first end token. Early conversions
 * of CLIP wrongly say that the end token is 2, and published configs still do; then it is the position of the highest id.
 * @param rows the token ids of each text.
 */
export function pooledPositions(rows: readonly (readonly number[])[], eosTokenId: number): number[] {
  return rows.map((ids) =>
    eosTokenId === 2
      ? ids.reduce((best, id, position) => (id > ids[best]! ? position : best), 0)
      : Math.max(0, ids.indexOf(eosTokenId)),
  );
}

/** The text half of CLIP, without the projection into the space that text and images share. */
export class ClipTextEncoder extends Module {
  readonly embeddings: TextEmbeddings;
  readonly encoder: Encoder;
  readonly finalLayerNorm: LayerNorm;
  readonly config: ClipTextConfig;

  constructor(config: ClipTextConfig) {
    super();
    this.config = config;
    this.embeddings = new TextEmbeddings(config);
    this.encoder = new Encoder(config);
    this.finalLayerNorm = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
  }

  /**
   * Translates a checkpoint's tensor name into this module's: drops the prefix `text_model.`, if present.
   * @returns null for tensors of a whole CLIP that its text encoder does not use.
   */
  static sanitize(key: string): string | null {
    const unused =
      /^(vision_model|visual_projection|text_projection)\.|^logit_scale$|embeddings\.position_ids$/.test(key);
    return unused ? null : key.replace(/^text_model\./, "");
  }

  /**
   * Computes pooled embeddings: token ids `[B, T]`, or a typed array for a single text → `[B, D]`.
   * @throws {MlxError} when an id is not in the vocabulary, or a text has more tokens than there are positions.
   */
  forward(ids: TokenIds): MxArray {
    return scope(() => lazily(this.stages(ids)));
  }

  /** Computes {@link forward} layer by layer. */
  *stages(ids: TokenIds): Stages {
    const { vocabSize, maxPositionEmbeddings: positions, eosTokenId } = this.config;
    const rows = tokenRows(ids, "ClipTextEncoder", { vocabSize, positions });
    let hidden = scope(() => this.embeddings.forward(array(rows, { dtype: "int32" })));
    try {
      for (const layer of this.encoder.layers) {
        const next = scope(() => layer.forward(hidden));
        hidden.dispose();
        hidden = next;
        yield [hidden];
      }
      return scope(() => {
        const normalized = this.finalLayerNorm.forward(hidden);
        const pooled = pooledPositions(rows, eosTokenId);
        return stack(pooled.map((position, row) => slice(normalized, [row, position])));
      });
    } finally {
      hidden.dispose();
    }
  }
}
