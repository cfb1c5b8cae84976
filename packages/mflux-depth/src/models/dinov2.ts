import {
  add,
  broadcastTo,
  concatenate,
  type MxArray,
  multiply,
  ones,
  reshape,
  scope,
  slice,
  split,
  transpose,
  zeros,
} from "@mflux-depth/mlx";
import {
  Conv2d,
  DotProductAttention,
  gatedAdd,
  LayerNorm,
  Linear,
  Module,
  type Stages,
  silu,
} from "@mflux-depth/mlx/nn";
import { ConfigReader } from "./config.js";
import { bicubic } from "./interpolate.js";
import { consuming, disposeAll, evaluated } from "./stages.js";

/*
 * DINOv2, a vision transformer (Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision",
 * arXiv:2304.07193; transformers: models/dinov2/modeling_dinov2.py). Properties are named
 * after the latter.
 * Images are `[batch, height, width, 3]`, tokens `[batch, tokens, hidden]`; the class token comes first.
 */

// ---------------------------------------------------------------- config

export interface Dinov2Config {
  hiddenSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  /** Width of the feed-forward layers, relative to `hiddenSize`. */
  mlpRatio: number;
  layerNormEps: number;
  /** Side of the square image that the position embeddings were trained for, in pixels. */
  imageSize: number;
  /** Side of the square that becomes one token, in pixels. */
  patchSize: number;
  numChannels: number;
  qkvBias: boolean;
  useSwigluFfn: boolean;
}

/**
 * Reads a DINOv2 config that is part of another model's. Missing values get the defaults of transformers.
 * @param json the config
 * @param key the config's key in the parent config, for messages
 * @param given the side of the images that the other model passes in, which replaces the config's `image_size`; null to
 * use the config's
 * @param source the file, for messages
 * @throws {ModelError} when it describes another encoder, or its values contradict each other.
 */
export function dinov2Config(json: unknown, key: string, given: number | null, source: string): Dinov2Config {
  const config = new ConfigReader(json, `the encoder of ${key}`, source);
  config.only("model_type", "dinov2");
  config.only("hidden_act", "gelu");
  config.only("num_channels", 3);
  const mlpRatio = config.number("mlp_ratio", 4);
  const imageSize = given ?? config.count("image_size", 224);
  const result: Dinov2Config = {
    hiddenSize: config.count("hidden_size", 768),
    numHiddenLayers: config.layers("num_hidden_layers", 12),
    numAttentionHeads: config.count("num_attention_heads", 12),
    mlpRatio:
      mlpRatio > 0 ? mlpRatio : config.fail(`"mlp_ratio" of ${key} is ${mlpRatio}; it must be positive`),
    layerNormEps: config.number("layer_norm_eps", 1e-6),
    imageSize,
    patchSize: config.count("patch_size", 14),
    numChannels: 3,
    qkvBias: config.flag("qkv_bias", true),
    useSwigluFfn: config.flag("use_swiglu_ffn", false),
  };
  if (result.hiddenSize % result.numAttentionHeads !== 0)
    config.fail(
      `${key} has ${result.numAttentionHeads} heads, which do not divide its ${result.hiddenSize} channels`,
    );
  if (result.patchSize > imageSize)
    config.fail(
      `${key} has a patch_size of ${result.patchSize}, but its images have only ${imageSize} pixels`,
    );
  return result;
}

/** Side of the map of tokens that the position embeddings were trained for. */
export const tokenSide = ({ imageSize, patchSize }: Dinov2Config): number =>
  Math.floor(imageSize / patchSize);

// ---------------------------------------------------------------- layers

/** Turns the image's squares into tokens, prepends a class token, and adds learned positions. */
class Dinov2Embeddings extends Module {
  clsToken: MxArray;
  positionEmbeddings: MxArray;
  patchEmbeddings: PatchEmbeddings;
  #trainedSide: number;

  constructor(config: Dinov2Config) {
    super();
    this.#trainedSide = tokenSide(config);
    this.clsToken = zeros([1, 1, config.hiddenSize]);
    this.positionEmbeddings = zeros([1, tokenSide(config) ** 2 + 1, config.hiddenSize]);
    this.patchEmbeddings = new PatchEmbeddings(config);
  }

  /** `[batch, height, width, 3]` → `[batch, 1 + rows · columns, hidden]` */
  forward(pixels: MxArray): MxArray {
    const squares = this.patchEmbeddings.projection.forward(pixels);
    const [batch, rows, columns, hidden] = squares.shape as [number, number, number, number];
    const patches = reshape(squares, [batch, rows * columns, hidden]);
    const cls = add(this.clsToken, zeros([batch, 1, hidden], this.clsToken.dtype));
    return add(concatenate([cls, patches], 1), this.#positions(rows, columns));
  }

  /** The position embeddings of a grid, `[1, 1 + rows · columns, hidden]`: interpolated if it is not the trained one. */
  #positions(rows: number, columns: number): MxArray {
    const side = this.#trainedSide;
    if (rows === side && columns === side) return this.positionEmbeddings;
    const [cls, grid] = [
      slice(this.positionEmbeddings, [null, [0, 1]]),
      slice(this.positionEmbeddings, [null, [1, null]]),
    ];
    const hidden = cls.shape[2]!;
    const resized = bicubic(reshape(grid, [1, side, side, hidden]), [rows, columns]);
    return concatenate([cls, reshape(resized, [1, rows * columns, hidden])], 1);
  }
}

class PatchEmbeddings extends Module {
  projection: Conv2d;

  constructor(config: Dinov2Config) {
    super();
    const { numChannels, hiddenSize, patchSize } = config;
    this.projection = new Conv2d(numChannels, hiddenSize, { kernelSize: patchSize, stride: patchSize });
  }
}

class Dinov2SelfAttention extends Module {
  query: Linear;
  key: Linear;
  value: Linear;
  dotProduct: DotProductAttention;
  #heads: number;

  constructor(config: Dinov2Config) {
    super();
    const { hiddenSize, qkvBias } = config;
    this.query = new Linear(hiddenSize, hiddenSize, { bias: qkvBias });
    this.key = new Linear(hiddenSize, hiddenSize, { bias: qkvBias });
    this.value = new Linear(hiddenSize, hiddenSize, { bias: qkvBias });
    this.#heads = config.numAttentionHeads;
    this.dotProduct = new DotProductAttention((hiddenSize / this.#heads) ** -0.5);
  }

  /** `[batch, tokens, hidden]` → the same shape */
  forward(x: MxArray): MxArray {
    const [batch, tokens, hidden] = x.shape as [number, number, number];
    const headDim = hidden / this.#heads;
    const byHead = (y: MxArray): MxArray =>
      transpose(reshape(y, [batch, tokens, this.#heads, headDim]), [0, 2, 1, 3]);
    const q = byHead(this.query.forward(x));
    const k = byHead(this.key.forward(x));
    const v = byHead(this.value.forward(x));
    const attended = this.dotProduct.forward(q, k, v);
    return reshape(transpose(attended, [0, 2, 1, 3]), [batch, tokens, hidden]);
  }
}

class Dinov2SelfOutput extends Module {
  dense: Linear;

  constructor(config: Dinov2Config) {
    super();
    this.dense = new Linear(config.hiddenSize, config.hiddenSize);
  }
}

class Dinov2Attention extends Module {
  attention: Dinov2SelfAttention;
  output: Dinov2SelfOutput;

  constructor(config: Dinov2Config) {
    super();
    this.attention = new Dinov2SelfAttention(config);
    this.output = new Dinov2SelfOutput(config);
  }

  /** `[batch, tokens, hidden]` → the same shape */
  forward(x: MxArray): MxArray {
    return this.output.dense.forward(this.attention.forward(x));
  }
}

/** Two layers with the exact (erf) GELU in between. */
class Dinov2Mlp extends Module {
  fc1: Linear;
  fc2: Linear;

  constructor(config: Dinov2Config) {
    super();
    const inner = Math.floor(config.hiddenSize * config.mlpRatio);
    this.fc1 = new Linear(config.hiddenSize, inner);
    this.fc2 = new Linear(inner, config.hiddenSize);
  }

  /** `[batch, tokens, hidden]` → the same shape */
  forward(x: MxArray): MxArray {
    return this.fc2.forward(this.fc1.forward(x, "gelu"));
  }
}

/** `silu(gate) · value` between two layers. The inner width is two thirds of the MLP's, rounded up to a multiple of 8. */
class Dinov2SwiGlu extends Module {
  weightsIn: Linear;
  weightsOut: Linear;

  constructor(config: Dinov2Config) {
    super();
    const plain = Math.floor(config.hiddenSize * config.mlpRatio);
    const inner = Math.floor((Math.floor((plain * 2) / 3) + 7) / 8) * 8;
    this.weightsIn = new Linear(config.hiddenSize, 2 * inner);
    this.weightsOut = new Linear(inner, config.hiddenSize);
  }

  /** `[batch, tokens, hidden]` → the same shape */
  forward(x: MxArray): MxArray {
    const [gate, value] = split(this.weightsIn.forward(x), 2, -1);
    return this.weightsOut.forward(multiply(silu(gate!), value!));
  }
}

class Dinov2LayerScale extends Module {
  lambda1: MxArray;

  constructor(config: Dinov2Config) {
    super();
    this.lambda1 = ones([config.hiddenSize]);
  }

  /** `x + lambda · y` */
  add(x: MxArray, y: MxArray): MxArray {
    const [batch, , hidden] = x.shape as [number, number, number];
    return gatedAdd(x, broadcastTo(this.lambda1, [batch, 1, hidden]), y);
  }
}

class Dinov2Layer extends Module {
  norm1: LayerNorm;
  attention: Dinov2Attention;
  layerScale1: Dinov2LayerScale;
  norm2: LayerNorm;
  mlp: Dinov2Mlp | Dinov2SwiGlu;
  layerScale2: Dinov2LayerScale;

  constructor(config: Dinov2Config) {
    super();
    this.norm1 = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
    this.attention = new Dinov2Attention(config);
    this.layerScale1 = new Dinov2LayerScale(config);
    this.norm2 = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
    this.mlp = config.useSwigluFfn ? new Dinov2SwiGlu(config) : new Dinov2Mlp(config);
    this.layerScale2 = new Dinov2LayerScale(config);
  }

  /** `[batch, tokens, hidden]` → the same shape */
  forward(x: MxArray): MxArray {
    const attended = this.layerScale1.add(x, this.attention.forward(this.norm1.forward(x)));
    return this.layerScale2.add(attended, this.mlp.forward(this.norm2.forward(attended)));
  }
}

class Dinov2Encoder extends Module {
  layer: Dinov2Layer[];

  constructor(config: Dinov2Config) {
    super();
    this.layer = Array.from({ length: config.numHiddenLayers }, () => new Dinov2Layer(config));
  }
}

// ---------------------------------------------------------------- the encoder

export interface EncodeOptions {
  /** Layers whose output is also returned, before the final norm. */
  readonly hooks?: readonly number[];
  /** Approximate limit for the activations of a layer, in bytes; decides how many images are encoded at a time. */
  readonly workingSet: number;
  /** Receives the work done since the last call, in encoded images (fractions of one). */
  readonly onProgress?: (images: number) => void;
}

/** DINOv2's vision transformer: images to tokens, one for each patch and one for the whole image. */
export class Dinov2 extends Module {
  embeddings: Dinov2Embeddings;
  encoder: Dinov2Encoder;
  layernorm: LayerNorm;
  #config: Dinov2Config;

  constructor(config: Dinov2Config) {
    super();
    this.embeddings = new Dinov2Embeddings(config);
    this.encoder = new Dinov2Encoder(config);
    this.layernorm = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
    this.#config = config;
  }

  /**
   * Encodes images, as many at a time as the working set allows, layer by layer. The images must outlive it.
   * @param pixels `[count, height, width, 3]`
   * @returns `[count, tokens, hidden]` each: the normed output, then the output of each hook
   */
  *stages(pixels: MxArray, options: EncodeOptions): Stages<MxArray[]> {
    const count = pixels.shape[0]!;
    const perImage = layerBytes(this.#config, tokensOf(this.#config, pixels));
    const size = Math.max(1, Math.min(count, Math.floor(options.workingSet / perImage)));
    const batches: MxArray[][] = [];
    try {
      for (let from = 0; from < count; from += size) {
        using batch = slice(pixels, [[from, Math.min(from + size, count)]]);
        batches.push(yield* this.#batchStages(batch, options));
      }
      const outputs = batches[0]!.map((_, i) => i);
      return yield* evaluated(
        scope(() => outputs.map((i) => concatenate(batches.map((batch) => batch[i]!)))),
      );
    } finally {
      disposeAll(batches.flat());
    }
  }

  *#batchStages(pixels: MxArray, { hooks = [], onProgress }: EncodeOptions): Stages<MxArray[]> {
    const layers = this.encoder.layer;
    const hooked = new Map<number, MxArray>();
    let x = scope(() => this.embeddings.forward(pixels));
    let finished = false;
    try {
      // Evaluated layer by layer: MLX allocates for many operations ahead of the one that it computes.
      for (const [i, layer] of layers.entries()) {
        x = hooked.has(i - 1)
          ? yield* evaluated(scope(() => layer.forward(x)))
          : yield* consuming([x], (input) => layer.forward(input));
        if (hooks.includes(i)) hooked.set(i, x);
        onProgress?.(pixels.shape[0]! / layers.length);
      }
      const normed = yield* evaluated(scope(() => this.layernorm.forward(x)));
      finished = true;
      return [normed, ...hooks.map((i) => hooked.get(i)!)];
    } finally {
      if (!finished) disposeAll(hooked.values());
      if (!finished || !hooked.has(layers.length - 1)) x.dispose();
    }
  }
}

/** The tokens of an image `[count, height, width, 3]`, with the class token. */
function tokensOf({ patchSize }: Dinov2Config, { shape }: MxArray): number {
  const [, height, width] = shape as [number, number, number];
  return Math.floor(height / patchSize) * Math.floor(width / patchSize) + 1;
}

/** The approximate bytes that a layer allocates for one image if it reuses nothing. */
const layerBytes = ({ hiddenSize, mlpRatio, numAttentionHeads }: Dinov2Config, tokens: number): number =>
  4 * tokens * ((24 + 6 * mlpRatio) * hiddenSize + 3 * numAttentionHeads * tokens);

// ---------------------------------------------------------------- precision

/**
 * The first layer of an encoder, whose inputs stay unrounded. With all inputs rounded, single edges of the bundled
 * estimator's maps move by up to 9 of 255, nearly all of it because of this layer; with it left alone, by 1.4.
 */
export const sensitiveLayer = /(^|\.)encoder\.layer\.0\./;

// ---------------------------------------------------------------- names in files

/** The attention layers' names in files written by transformers 5, and the names before. */
const attentionNames: Readonly<Record<string, string>> = {
  q_proj: "attention.query",
  k_proj: "attention.key",
  v_proj: "attention.value",
  o_proj: "output.dense",
};

/** Maps a tensor's name in files to the encoder's; null if no encoder uses it. */
export function dinov2Key(key: string): string | null {
  if (key.endsWith(".embeddings.mask_token")) return null;
  return key.replace(
    /\.attention\.([qkvo]_proj)\./,
    (_, name: string) => `.attention.${attentionNames[name]}.`,
  );
}
