import {
  add,
  array,
  broadcastTo,
  concatenate,
  evaluate,
  type MxArray,
  multiply,
  ones,
  reshape,
  rsqrt,
  scope,
  slice,
  split,
  squeeze,
  subtract,
  take,
  transpose,
  zeros,
} from "@mflux-depth/mlx";
import {
  attention,
  Conv2d,
  ConvTranspose2d,
  gatedAdd,
  LayerNorm,
  Linear,
  Module,
  relu,
  silu,
} from "@mflux-depth/mlx/nn";
import { ModelError } from "../errors.js";
import { ConfigReader } from "./config.js";

/*
 * Depth Pro (Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second", arXiv:2410.02073),
 * as transformers defines it (transformers: models/depth_pro/modeling_depth_pro.py, models/dinov2/modeling_dinov2.py).
 * Pictures and feature maps are `[batch, height, width, channels]`, tokens `[batch, tokens, channels]`.
 *
 * The parts are lazy and know nothing of memory. DepthPro.forward runs them in pieces that fit: patches in batches,
 * one block at a time, and the decoder in bands of rows.
 */

// ---------------------------------------------------------------- config

export interface Dinov2Config {
  hiddenSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  mlpRatio: number;
  layerNormEps: number;
  /** Side of the picture that the encoder takes, in pixels. */
  imageSize: number;
  /** Side of the square that becomes one token, in pixels. */
  patchSize: number;
  numChannels: number;
  qkvBias: boolean;
  useSwigluFfn: boolean;
}

export interface DepthProConfig {
  fusionHiddenSize: number;
  /** Side of a patch of the picture, which an encoder sees as a whole. */
  patchSize: number;
  /** Blocks of the patch encoder whose outputs feed the decoder. */
  intermediateHookIds: number[];
  intermediateFeatureDims: number[];
  /** The pyramid, from coarse to fine. */
  scaledImagesRatios: number[];
  scaledImagesOverlapRatios: number[];
  scaledImagesFeatureDims: number[];
  mergePaddingValue: number;
  useBatchNormInFusionResidual: boolean;
  useBiasInFusionResidual: boolean;
  useFovModel: boolean;
  numFovHeadLayers: number;
  imageModelConfig: Dinov2Config;
  patchModelConfig: Dinov2Config;
  fovModelConfig: Dinov2Config;
}

/**
 * Reads a `config.json` of Depth Pro. What is left out has the default of transformers.
 * @param source the file, for messages
 * @throws {ModelError} when it is another model's, or its values do not fit together.
 */
export function depthProConfig(json: unknown, source = "config.json"): DepthProConfig {
  const config = new ConfigReader(json, "Depth Pro", source);
  const values = json as Record<string, unknown>;
  if (values.model_type !== "depth_pro")
    config.fail(
      `this is a config of ${JSON.stringify(values.model_type ?? "another kind of model")}; "depth_pro" expected`,
    );
  const numbers = (key: string, fallback: number[], expected: string, valid: (n: number) => boolean) => {
    const value = values[key] ?? fallback;
    return Array.isArray(value) && value.length > 0 && value.every((n) => typeof n === "number" && valid(n))
      ? (value as number[])
      : config.fail(`"${key}" is ${JSON.stringify(value)}; Depth Pro needs a list of ${expected}`);
  };
  const natural = (key: string, fallback: number): number => {
    const value = config.number(key, fallback);
    return Number.isInteger(value) && value >= 0 && value < 1024
      ? value
      : config.fail(`"${key}" is ${value}; Depth Pro needs a small whole number`);
  };

  const patchSize = config.count("patch_size", 384);
  const batchNorm = config.flag("use_batch_norm_in_fusion_residual", false);
  const encoder = (key: string): Dinov2Config => dinov2Config(values[key] ?? {}, key, patchSize, source);
  const result: DepthProConfig = {
    fusionHiddenSize: config.count("fusion_hidden_size", 256),
    patchSize,
    intermediateHookIds: numbers("intermediate_hook_ids", [11, 5], "block numbers", isNatural),
    intermediateFeatureDims: config.counts("intermediate_feature_dims", [256, 256]),
    scaledImagesRatios: numbers("scaled_images_ratios", [0.25, 0.5, 1], "ratios", (n) => n > 0 && n <= 1),
    scaledImagesOverlapRatios: numbers(
      "scaled_images_overlap_ratios",
      [0, 0.5, 0.25],
      "shares below 1",
      (n) => n >= 0 && n < 1,
    ),
    scaledImagesFeatureDims: config.counts("scaled_images_feature_dims", [1024, 1024, 512]),
    mergePaddingValue: natural("merge_padding_value", 3),
    useBatchNormInFusionResidual: batchNorm,
    // An explicit null means: a bias where there is no batch norm.
    useBiasInFusionResidual: config.flag(
      "use_bias_in_fusion_residual",
      values.use_bias_in_fusion_residual !== null || !batchNorm,
    ),
    useFovModel: config.flag("use_fov_model", false),
    numFovHeadLayers: natural("num_fov_head_layers", 2),
    imageModelConfig: encoder("image_model_config"),
    patchModelConfig: encoder("patch_model_config"),
    fovModelConfig: encoder("fov_model_config"),
  };

  const { scaledImagesRatios: ratios, intermediateHookIds: hooks } = result;
  if (
    result.scaledImagesOverlapRatios.length !== ratios.length ||
    result.scaledImagesFeatureDims.length !== ratios.length
  )
    config.fail(
      "scaled_images_ratios, scaled_images_overlap_ratios and scaled_images_feature_dims differ in length",
    );
  if (ratios.some((ratio, i) => i > 0 && ratio < ratios[i - 1]!))
    config.fail("scaled_images_ratios are not sorted from low to high");
  if (result.intermediateFeatureDims.length !== hooks.length)
    config.fail("intermediate_hook_ids and intermediate_feature_dims differ in length");
  const blocks = result.patchModelConfig.numHiddenLayers;
  if (hooks.some((id) => id >= blocks))
    config.fail(`intermediate_hook_ids ${hooks} name more than the ${blocks} blocks there are`);
  if (result.fusionHiddenSize < 2 ** result.numFovHeadLayers)
    config.fail(
      `fusion_hidden_size ${result.fusionHiddenSize} is too small for ${result.numFovHeadLayers} FOV head layers`,
    );
  return result;
}

const isNatural = (n: number): boolean => Number.isInteger(n) && n >= 0;

function dinov2Config(json: unknown, key: string, imageSize: number, source: string): Dinov2Config {
  const config = new ConfigReader(json, `the encoder of ${key}`, source);
  config.only("model_type", "dinov2");
  config.only("hidden_act", "gelu");
  config.only("num_channels", 3);
  const mlpRatio = config.number("mlp_ratio", 4);
  const result: Dinov2Config = {
    hiddenSize: config.count("hidden_size", 768),
    numHiddenLayers: config.count("num_hidden_layers", 12),
    numAttentionHeads: config.count("num_attention_heads", 12),
    mlpRatio:
      mlpRatio > 0 ? mlpRatio : config.fail(`"mlp_ratio" of ${key} is ${mlpRatio}; it must be positive`),
    layerNormEps: config.number("layer_norm_eps", 1e-6),
    // An encoder sees whole patches: transformers overrides an image_size that says otherwise.
    imageSize,
    patchSize: config.count("patch_size", 14),
    numChannels: 3,
    qkvBias: config.flag("qkv_bias", true),
    useSwigluFfn: config.flag("use_swiglu_ffn", false),
  };
  if (result.hiddenSize % result.numAttentionHeads !== 0)
    config.fail(
      `${key} has ${result.numAttentionHeads} heads, which do not divide the ${result.hiddenSize} channels`,
    );
  if (result.patchSize > imageSize)
    config.fail(
      `${key} has a patch_size of ${result.patchSize}, more than the ${imageSize} pixels that it is given`,
    );
  return result;
}

/** Side of the square picture that the model takes unless told otherwise: the coarsest level is then one patch. */
export const inputSize = (config: DepthProConfig): number =>
  Math.round(config.patchSize / config.scaledImagesRatios[0]!);

// ---------------------------------------------------------------- DINOv2

/** The picture's squares as tokens, after a class token, with learned positions (never interpolated here). */
class Dinov2Embeddings extends Module {
  clsToken: MxArray;
  positionEmbeddings: MxArray;
  patchEmbeddings: PatchEmbeddings;

  constructor(config: Dinov2Config) {
    super();
    const side = Math.floor(config.imageSize / config.patchSize);
    this.clsToken = zeros([1, 1, config.hiddenSize]);
    this.positionEmbeddings = zeros([1, side * side + 1, config.hiddenSize]);
    this.patchEmbeddings = new PatchEmbeddings(config);
  }

  /** `[batch, image, image, 3]` → `[batch, 1 + side², hidden]` */
  forward(pixels: MxArray): MxArray {
    const squares = this.patchEmbeddings.projection.forward(pixels);
    const [batch, rows, columns, hidden] = squares.shape as [number, number, number, number];
    const patches = reshape(squares, [batch, rows * columns, hidden]);
    const cls = add(this.clsToken, zeros([batch, 1, hidden], this.clsToken.dtype));
    return add(concatenate([cls, patches], 1), this.positionEmbeddings);
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

/** Query, key and value; the names are those of the files. */
class Dinov2SelfAttention extends Module {
  query: Linear;
  key: Linear;
  value: Linear;
  #heads: number;

  constructor(config: Dinov2Config) {
    super();
    const { hiddenSize, qkvBias } = config;
    this.query = new Linear(hiddenSize, hiddenSize, { bias: qkvBias });
    this.key = new Linear(hiddenSize, hiddenSize, { bias: qkvBias });
    this.value = new Linear(hiddenSize, hiddenSize, { bias: qkvBias });
    this.#heads = config.numAttentionHeads;
  }

  /** `[batch, tokens, hidden]` → the same shape */
  forward(x: MxArray): MxArray {
    const [batch, tokens, hidden] = x.shape as [number, number, number];
    const size = hidden / this.#heads;
    const byHead = (y: MxArray): MxArray =>
      transpose(reshape(y, [batch, tokens, this.#heads, size]), [0, 2, 1, 3]);
    const q = byHead(this.query.forward(x));
    const k = byHead(this.key.forward(x));
    const v = byHead(this.value.forward(x));
    const mixed = attention(q, k, v, { scale: size ** -0.5 });
    return reshape(transpose(mixed, [0, 2, 1, 3]), [batch, tokens, hidden]);
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

  forward(x: MxArray): MxArray {
    return this.output.dense.forward(this.attention.forward(x));
  }
}

/** Two layers with the exact (erf) GELU between. */
class Dinov2Mlp extends Module {
  fc1: Linear;
  fc2: Linear;

  constructor(config: Dinov2Config) {
    super();
    const inner = Math.floor(config.hiddenSize * config.mlpRatio);
    this.fc1 = new Linear(config.hiddenSize, inner);
    this.fc2 = new Linear(inner, config.hiddenSize);
  }

  forward(x: MxArray): MxArray {
    return this.fc2.forward(this.fc1.forward(x, "gelu"));
  }
}

/** `silu(a) · b` between two layers; the inner width is two thirds of the plain one's, rounded up to eights. */
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

/** The vision transformer (Oquab et al., arXiv:2304.07193; transformers: models/dinov2/modeling_dinov2.py). */
class Dinov2 extends Module {
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
   * Encodes pictures, a batch of as many as fit at a time.
   * @param pixels `[count, image, image, 3]`
   * @param hooks blocks whose output is wanted too (before the final norm)
   * @returns evaluated `[count, tokens, hidden]`: the normed end, then one for each hook
   */
  async encode(pixels: MxArray, hooks: readonly number[], run: Run): Promise<MxArray[]> {
    const count = pixels.shape[0]!;
    const size = Math.max(1, Math.min(count, Math.floor(run.workingSet / this.#bytesOfBlock())));
    const batches: MxArray[][] = [];
    try {
      for (let from = 0; from < count; from += size) {
        using batch = slice(pixels, [[from, Math.min(from + size, count)]]);
        batches.push(await this.#encodeBatch(batch, hooks, run));
      }
      const joined = scope(() =>
        [-1, ...hooks].map((_, i) => concatenate(batches.map((states) => states[i]!))),
      );
      return await run.evaluated(joined);
    } finally {
      disposeAll(batches.flat());
    }
  }

  async #encodeBatch(pixels: MxArray, hooks: readonly number[], run: Run): Promise<MxArray[]> {
    const blocks = this.encoder.layer;
    const kept = new Map<number, MxArray>();
    let x = this.#embed(pixels);
    try {
      for (const [i, block] of blocks.entries()) {
        const input = x;
        // One block at a time: MLX allocates for many operations ahead of the one that it computes.
        x = await run.evaluated(scope(() => block.forward(input)));
        if (kept.get(i - 1) !== input) input.dispose();
        if (hooks.includes(i)) kept.set(i, x);
        run.advance(pixels.shape[0]! / blocks.length);
      }
      const last = await run.evaluated(scope(() => this.layernorm.forward(x)));
      const states = [last, ...hooks.map((i) => kept.get(i)!)];
      if (!states.includes(x)) x.dispose();
      return states;
    } catch (error) {
      disposeAll([x, ...kept.values()]);
      throw error;
    }
  }

  #embed(pixels: MxArray): MxArray {
    return scope(() => this.embeddings.forward(pixels));
  }

  /** What one block allocates for one picture, roughly, when nothing is reused within it. */
  #bytesOfBlock(): number {
    const { hiddenSize, mlpRatio, numAttentionHeads, imageSize, patchSize } = this.#config;
    const tokens = Math.floor(imageSize / patchSize) ** 2 + 1;
    return 4 * tokens * ((24 + 6 * mlpRatio) * hiddenSize + 3 * numAttentionHeads * tokens);
  }
}

// ---------------------------------------------------------------- pyramid, patches, feature maps

/** Positions and weights of a bilinear resize along one axis, in float32 as torch computes them. */
function bilinearWeights(
  from: number,
  to: number,
  step: number,
): { low: Int32Array; high: Int32Array; weight: Float32Array } {
  const low = new Int32Array(to);
  const high = new Int32Array(to);
  const weight = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const centre = Math.max(0, Math.fround(Math.fround((i + 0.5) * Math.fround(step)) - 0.5));
    low[i] = Math.min(Math.floor(centre), from - 1);
    high[i] = Math.min(low[i]! + 1, from - 1);
    weight[i] = centre - low[i]!;
  }
  return { low, high, weight };
}

function resizeAxis(x: MxArray, axis: 1 | 2, size: number, step: number): MxArray {
  const from = x.shape[axis]!;
  if (size === from && step === 1) return x;
  const { low, high, weight } = bilinearWeights(from, size, step);
  const shape = axis === 1 ? [1, size, 1, 1] : [1, 1, size, 1];
  const upper = array(weight, { shape, dtype: x.dtype });
  const lower = array(
    Float32Array.from(weight, (w) => 1 - w),
    { shape, dtype: x.dtype },
  );
  return add(multiply(take(x, array(low), axis), lower), multiply(take(x, array(high), axis), upper));
}

/**
 * Bilinear resize with half-pixel centres and no antialiasing, as `torch.nn.functional.interpolate` with
 * `align_corners=False`: `[batch, height, width, channels]` to a size, or by a ratio (which then is the step exactly,
 * also where the size had to be rounded down).
 */
export function interpolate(x: MxArray, to: { size: number } | { ratio: number }): MxArray {
  const [, height, width] = x.shape as [number, number, number];
  const target = (from: number): number => ("size" in to ? to.size : Math.floor(from * to.ratio));
  const step = (from: number): number => ("size" in to ? from / to.size : 1 / to.ratio);
  return resizeAxis(resizeAxis(x, 2, target(width), step(width)), 1, target(height), step(height));
}

/**
 * Cuts a square picture `[1, side, side, 3]` into patches `[count², patch, patch, 3]` in reading order, each
 * `patch · (1 − overlap)` after the one before. What is left at the right and the bottom is dropped.
 */
export function splitPatches(picture: MxArray, patch: number, overlap: number): MxArray {
  const side = picture.shape[1]!;
  if (side === patch) return picture;
  const stride = Math.floor(patch * (1 - overlap));
  const count = Math.floor((side - patch) / stride) + 1;
  const starts = Array.from({ length: count }, (_, i) => i * stride);
  return concatenate(
    starts.flatMap((y) => starts.map((x) => slice(picture, [null, [y, y + patch], [x, x + patch]]))),
  );
}

/**
 * Joins the feature maps of patches `[count², side, side, channels]` to one `[1, …, …, channels]`. Where two meet,
 * each loses `padding` rows or columns: half of what they overlap.
 */
export function mergePatches(patches: MxArray, padding: number): MxArray {
  const [number, side] = patches.shape as [number, number];
  if (number === 1) return patches;
  const count = Math.floor(Math.sqrt(number));
  const trim = count < 2 ? 0 : Math.min(Math.floor(side / 4), padding);
  const kept = (i: number): [number, number] => [i === 0 ? 0 : trim, i === count - 1 ? side : side - trim];
  const indices = Array.from({ length: count }, (_, i) => i);
  const rows = indices.map((y) =>
    concatenate(
      indices.map((x) => slice(patches, [[y * count + x, y * count + x + 1], kept(y), kept(x)])),
      2,
    ),
  );
  return concatenate(rows, 1);
}

/** Tokens `[count, tokens, channels]` as maps `[count, side, side, channels]`, without the class token. */
function tokensAsMap(tokens: MxArray): MxArray {
  const [count, length, channels] = tokens.shape as [number, number, number];
  const side = Math.floor(Math.sqrt(length));
  return reshape(slice(tokens, [null, [length - side * side, null]]), [count, side, side, channels]);
}

/** The encoded patches of one level as a map `[1, size, size, channels]`. */
const featureMap = (tokens: MxArray, padding: number, size: number): MxArray =>
  interpolate(mergePatches(tokensAsMap(tokens), padding), { size });

// ---------------------------------------------------------------- neck

/** An optional 1×1 projection, then transposed convolutions that double the size. */
class FeatureUpsampleBlock extends Module {
  layers: (Conv2d | ConvTranspose2d)[];
  /** How many output rows come of one input row. */
  readonly factor: number;

  constructor(
    input: number,
    output: number,
    options: { upsamplings: number; projection: number | null; bias?: boolean },
  ) {
    super();
    const { upsamplings, projection, bias = false } = options;
    const first = projection ?? input;
    const doubling = (i: number): ConvTranspose2d =>
      new ConvTranspose2d(i === 0 ? first : output, output, { kernelSize: 2, stride: 2, bias });
    this.layers = [
      ...(projection === null ? [] : [new Conv2d(input, projection, { kernelSize: 1, bias })]),
      ...Array.from({ length: upsamplings }, (_, i) => doubling(i)),
    ];
    this.factor = 2 ** upsamplings;
  }

  /** `[1, height, width, input]` → `[1, height · factor, width · factor, output]` */
  forward(x: MxArray): MxArray {
    return this.layers.reduce((y, layer) => layer.forward(y), x);
  }

  /** Rows `from` to `to` of what {@link forward} gives, without computing the others. */
  rows(x: MxArray, from: number, to: number): MxArray {
    const first = Math.floor(from / this.factor);
    const part = this.forward(slice(x, [null, [first, Math.ceil(to / this.factor)]]));
    return slice(part, [null, [from - first * this.factor, to - first * this.factor]]);
  }
}

class FeatureUpsample extends Module {
  imageBlock: FeatureUpsampleBlock;
  scaledImages: FeatureUpsampleBlock[];
  intermediate: FeatureUpsampleBlock[];

  constructor(config: DepthProConfig) {
    super();
    const { scaledImagesFeatureDims: scaled, intermediateFeatureDims: hooked } = config;
    const hidden = config.patchModelConfig.hiddenSize;
    this.imageBlock = new FeatureUpsampleBlock(config.imageModelConfig.hiddenSize, scaled[0]!, {
      upsamplings: 1,
      projection: null,
      bias: true,
    });
    this.scaledImages = scaled.map(
      (dims) => new FeatureUpsampleBlock(hidden, dims, { upsamplings: 1, projection: dims }),
    );
    this.intermediate = hooked.map(
      (dims, i) =>
        new FeatureUpsampleBlock(hidden, dims, {
          upsamplings: 2 + i,
          projection: i === 0 ? config.fusionHiddenSize : dims,
        }),
    );
  }
}

class FeatureProjection extends Module {
  /** 3×3 to the decoder's width; the last level has none when it is that wide already. */
  projections: (Conv2d | null)[];

  constructor(config: DepthProConfig) {
    super();
    const { fusionHiddenSize: width } = config;
    const dims = [...config.scaledImagesFeatureDims, ...config.intermediateFeatureDims];
    this.projections = dims.map((channels, i) =>
      i === dims.length - 1 && channels === width
        ? null
        : new Conv2d(channels, width, { kernelSize: 3, padding: 1, bias: false }),
    );
  }
}

class Neck extends Module {
  featureUpsample: FeatureUpsample;
  fuseImageWithLowRes: Conv2d;
  featureProjection: FeatureProjection;

  constructor(config: DepthProConfig) {
    super();
    const coarse = config.scaledImagesFeatureDims[0]!;
    this.featureUpsample = new FeatureUpsample(config);
    this.fuseImageWithLowRes = new Conv2d(2 * coarse, coarse, { kernelSize: 1 });
    this.featureProjection = new FeatureProjection(config);
  }

  /** The coarsest level and the whole picture's features together, `[1, 2 · base, 2 · base, fusion]`. */
  global(image: MxArray, coarse: MxArray): MxArray {
    const { imageBlock, scaledImages } = this.featureUpsample;
    const both = concatenate([scaledImages[0]!.forward(coarse), imageBlock.forward(image)], -1);
    const fused = this.fuseImageWithLowRes.forward(both);
    const projection = this.featureProjection.projections[0];
    return projection ? projection.forward(fused) : fused;
  }

  /** The block that enlarges level `level` (0 is {@link global}'s). */
  upsampling(level: number): FeatureUpsampleBlock {
    const { scaledImages, intermediate } = this.featureUpsample;
    return [...scaledImages, ...intermediate][level]!;
  }
}

// ---------------------------------------------------------------- decoder

/** Batch normalization with the statistics of training. */
class BatchNorm2d extends Module {
  weight: MxArray;
  bias: MxArray;
  runningMean: MxArray;
  runningVar: MxArray;

  constructor(channels: number) {
    super();
    this.weight = ones([channels]);
    this.bias = zeros([channels]);
    this.runningMean = zeros([channels]);
    this.runningVar = ones([channels]);
  }

  forward(x: MxArray): MxArray {
    // 1e-5 is PyTorch's default, which no config changes.
    const scale = multiply(this.weight, rsqrt(add(this.runningVar, 1e-5)));
    return add(multiply(subtract(x, this.runningMean), scale), this.bias);
  }
}

/** ReLU and 3×3, twice, plus the input. */
class PreActResidualLayer extends Module {
  convolution1: Conv2d;
  convolution2: Conv2d;
  batchNorm1: BatchNorm2d | null;
  batchNorm2: BatchNorm2d | null;

  constructor(config: DepthProConfig) {
    super();
    const {
      fusionHiddenSize: width,
      useBiasInFusionResidual: bias,
      useBatchNormInFusionResidual: norm,
    } = config;
    this.convolution1 = new Conv2d(width, width, { kernelSize: 3, padding: 1, bias });
    this.convolution2 = new Conv2d(width, width, { kernelSize: 3, padding: 1, bias });
    this.batchNorm1 = norm ? new BatchNorm2d(width) : null;
    this.batchNorm2 = norm ? new BatchNorm2d(width) : null;
  }

  forward(x: MxArray): MxArray {
    const first = this.convolution1.forward(relu(x));
    const middle = this.batchNorm1 ? this.batchNorm1.forward(first) : first;
    const second = this.convolution2.forward(relu(middle));
    return add(x, this.batchNorm2 ? this.batchNorm2.forward(second) : second);
  }
}

/** Adds a finer level to what comes from the coarser ones, and doubles the size (but for the last). */
class FeatureFusionLayer extends Module {
  /** The coarsest level has nothing to be added to; files carry the weights all the same. */
  residualLayer1: PreActResidualLayer | null;
  residualLayer2: PreActResidualLayer;
  deconv: ConvTranspose2d | null;
  projection: Conv2d;

  constructor(config: DepthProConfig, options: { first?: boolean; last?: boolean }) {
    super();
    const width = config.fusionHiddenSize;
    this.residualLayer1 = options.first ? null : new PreActResidualLayer(config);
    this.residualLayer2 = new PreActResidualLayer(config);
    this.deconv = options.last
      ? null
      : new ConvTranspose2d(width, width, { kernelSize: 2, stride: 2, bias: false });
    this.projection = new Conv2d(width, width, { kernelSize: 1 });
  }

  /** `x` plus the finer level `feature`. */
  join(x: MxArray, feature: MxArray): MxArray {
    return add(x, this.residualLayer1!.forward(feature));
  }

  /** `[1, height, width, fusion]` → twice the size, or the same in the last layer. */
  refine(x: MxArray): MxArray {
    const refined = this.residualLayer2.forward(x);
    return this.projection.forward(this.deconv ? this.deconv.forward(refined) : refined);
  }
}

class FeatureFusionStage extends Module {
  intermediate: FeatureFusionLayer[];
  final: FeatureFusionLayer;

  constructor(config: DepthProConfig) {
    super();
    const levels = config.intermediateHookIds.length + config.scaledImagesRatios.length;
    this.intermediate = Array.from(
      { length: levels - 1 },
      (_, i) => new FeatureFusionLayer(config, { first: i === 0 }),
    );
    this.final = new FeatureFusionLayer(config, { last: true });
  }
}

/** Channels before the last layer of the depth head; fixed by the architecture, not by the config. */
const headWidth = 32;

class DepthEstimationHead extends Module {
  layers: [Conv2d, ConvTranspose2d, Conv2d, null, Conv2d];

  constructor(config: DepthProConfig) {
    super();
    const width = config.fusionHiddenSize;
    const half = Math.floor(width / 2);
    this.layers = [
      new Conv2d(width, half, { kernelSize: 3, padding: 1 }),
      new ConvTranspose2d(half, half, { kernelSize: 2, stride: 2 }),
      new Conv2d(half, headWidth, { kernelSize: 3, padding: 1 }),
      null,
      new Conv2d(headWidth, 1, { kernelSize: 1 }),
    ];
  }

  /** `[1, height, width, fusion]` → `[1, 2 · height, 2 · width, 1]`, not negative. */
  forward(x: MxArray): MxArray {
    const [narrow, enlarge, smooth, , toDepth] = this.layers;
    return relu(toDepth.forward(relu(smooth.forward(enlarge.forward(narrow.forward(x))))));
  }
}

// ---------------------------------------------------------------- field of view

class FovEncoder extends Module {
  model: Dinov2;
  neck: Linear;

  constructor(config: DepthProConfig) {
    super();
    this.model = new Dinov2(config.fovModelConfig);
    this.neck = new Linear(config.fovModelConfig.hiddenSize, Math.floor(config.fusionHiddenSize / 2));
  }
}

class FovHead extends Module {
  /** Convolutions that halve the size, with a null where the ReLU is, and one that takes all that is left. */
  layers: (Conv2d | null)[];

  constructor(config: DepthProConfig) {
    super();
    const { fusionHiddenSize: width, numFovHeadLayers: count } = config;
    const channels = (i: number): number => Math.ceil(width / 2 ** (i + 1));
    const kernelSize = Math.floor((encodedSide(config) - 1) / 2 ** count + 1);
    this.layers = [
      ...Array.from({ length: count }, (_, i) => [
        new Conv2d(channels(i), channels(i + 1), { kernelSize: 3, stride: 2, padding: 1 }),
        null,
      ]).flat(),
      new Conv2d(channels(count), 1, { kernelSize }),
    ];
  }

  /** `[1, side, side, fusion / 2]` → degrees, `[1, 1, 1, 1]` */
  forward(x: MxArray): MxArray {
    return this.layers.reduce((y, layer) => (layer ? layer.forward(y) : relu(y)), x);
  }
}

/** The horizontal field of view, from an encoder of its own and the decoder's coarsest features. */
class FovModel extends Module {
  fovEncoder: FovEncoder;
  conv: Conv2d;
  head: FovHead;
  #side: number;

  constructor(config: DepthProConfig) {
    super();
    const width = config.fusionHiddenSize;
    this.fovEncoder = new FovEncoder(config);
    this.conv = new Conv2d(width, Math.floor(width / 2), { kernelSize: 3, stride: 2, padding: 1 });
    this.head = new FovHead(config);
    this.#side = encodedSide(config);
  }

  /**
   * @param tokens of the FOV encoder
   * @param global the coarsest features, `[1, 2 · base, 2 · base, fusion]`
   * @returns degrees, `[1, 1, 1, 1]`
   */
  forward(tokens: MxArray, global: MxArray, base: number): MxArray {
    const picture = featureMap(this.fovEncoder.neck.forward(tokens), 0, base);
    const both = add(picture, relu(this.conv.forward(global)));
    return this.head.forward(interpolate(both, { size: this.#side }));
  }
}

/** Side of an encoder's map of tokens. */
const encodedSide = (config: DepthProConfig): number =>
  Math.floor(config.imageModelConfig.imageSize / config.imageModelConfig.patchSize);

// ---------------------------------------------------------------- the whole

class PatchEncoder extends Module {
  constructor(readonly model: Dinov2) {
    super();
  }
}

class Encoder extends Module {
  patchEncoder: PatchEncoder;
  imageEncoder: PatchEncoder;

  constructor(config: DepthProConfig) {
    super();
    this.patchEncoder = new PatchEncoder(new Dinov2(config.patchModelConfig));
    this.imageEncoder = new PatchEncoder(new Dinov2(config.imageModelConfig));
  }
}

class DepthProModel extends Module {
  encoder: Encoder;
  neck: Neck;

  constructor(config: DepthProConfig) {
    super();
    this.encoder = new Encoder(config);
    this.neck = new Neck(config);
  }
}

export interface DepthProOptions {
  signal?: AbortSignal | undefined;
  /**
   * Bytes that intermediate results may take beside weights and feature maps, roughly (default 1 GiB): says how many
   * patches run at once and how high the decoder's bands are. The result does not depend on it.
   */
  workingSet?: number;
  /** Called with the share of the work that is done, 0 to 1. */
  onProgress?: ((done: number) => void) | undefined;
}

export interface DepthProOutput {
  /** Canonical inverse depth, `[1, height, width]` float32: 1 / metres for a picture as wide as its focal length. */
  depth: MxArray;
  /** Horizontal field of view in degrees, when the model has the head for it. */
  fov: number | null;
}

/** How many rows of a level its layers see above and below a row: two residual units and the 3×3 projection. */
const fusionReach = 5;
/** The depth head's two 3×3, the second at twice the size. */
const headReach = 2;

/**
 * What the layers of one band allocate together, in activations of the band; convolutions bound their own scratch.
 * Where the size is doubled, several results are four times as large.
 */
const bandCost = { doubling: 24, last: 10 };

/** Depth Pro for depth estimation; properties are named after the keys of `apple/DepthPro-hf`. */
export class DepthPro extends Module {
  depthPro: DepthProModel;
  fusionStage: FeatureFusionStage;
  head: DepthEstimationHead;
  fovModel: FovModel | null;
  readonly config: DepthProConfig;

  constructor(config: DepthProConfig) {
    super();
    this.config = config;
    this.depthPro = new DepthProModel(config);
    this.fusionStage = new FeatureFusionStage(config);
    this.head = new DepthEstimationHead(config);
    this.fovModel = config.useFovModel ? new FovModel(config) : null;
  }

  /**
   * Estimates depth.
   * @param pixels `[1, side, side, 3]` in −1..1; the real model takes 1536, the aspect is not kept
   * @returns `depth` is the caller's to dispose
   * @throws {ModelError} when the picture is not square or too small for the pyramid
   * @throws the signal's reason when cancelled
   */
  async forward(pixels: MxArray, options: DepthProOptions = {}): Promise<DepthProOutput> {
    const { config } = this;
    const [batch, side, width, channels] = pixels.shape as [number, number, number, number];
    if (pixels.ndim !== 4 || batch !== 1 || side !== width || channels !== 3)
      throw new ModelError(
        "Depth Pro",
        `a picture of shape [${pixels.shape}] was given; [1, side, side, 3] expected`,
      );
    if (Math.floor(side * config.scaledImagesRatios[0]!) < config.patchSize)
      throw new ModelError(
        "Depth Pro",
        `a side of ${side} pixels is too small: with patches of ${config.patchSize} it takes ${inputSize(config)} or more`,
      );
    const run = new Run(options, this.#work(side));
    // The base is the size of the coarsest features: the picture's, halved while an encoder's map fits into it.
    let base = side;
    while (Math.floor(base / 2) >= encodedSide(config)) base = Math.floor(base / 2);

    const features = await this.#encode(pixels, base, run);
    const [image, coarse, ...finer] = features;
    try {
      using global = await run.evaluated(scope(() => this.depthPro.neck.global(image!, coarse!)));
      const fov = this.fovModel ? await this.#fieldOfView(this.fovModel, pixels, global, base, run) : null;
      const depth = await this.#decode(global, finer, run);
      run.finish();
      return { depth, fov };
    } finally {
      disposeAll(features);
    }
  }

  /** The features of the whole picture and of each level, from coarse to fine, `[1, size, size, hidden]` each. */
  async #encode(pixels: MxArray, base: number, run: Run): Promise<MxArray[]> {
    const { config } = this;
    const { patchEncoder, imageEncoder } = this.depthPro.encoder;
    const ratios = config.scaledImagesRatios;
    const padding = (ratio: number): number => Math.floor(config.mergePaddingValue * (1 / ratio));

    const encoded: MxArray[] = [];
    try {
      using picture = scope(() => interpolate(pixels, { size: config.imageModelConfig.imageSize }));
      encoded.push(...(await imageEncoder.model.encode(picture, [], run)));

      // Fine patches come first, so that those which the hooks need are at the front.
      const { patches, counts } = scope(() => {
        const levels = ratios.map((ratio, i) =>
          splitPatches(
            interpolate(pixels, { ratio }),
            config.patchSize,
            config.scaledImagesOverlapRatios[i]!,
          ),
        );
        const counts = levels.map((level) => level.shape[0]!);
        return { patches: concatenate(levels.reverse()), counts };
      });
      using fineFirst = patches;
      encoded.push(...(await patchEncoder.model.encode(fineFirst, config.intermediateHookIds, run)));

      const [imageTokens, tokens, ...hooked] = encoded as [MxArray, MxArray, ...MxArray[]];
      const finest = ratios.length - 1;
      const fineSize = base * 2 ** finest;
      const startOf = (level: number): number => counts.slice(level + 1).reduce((sum, n) => sum + n, 0);
      const features = scope(() => [
        featureMap(imageTokens, 0, base),
        ...ratios.map((ratio, i) => {
          const ofLevel = slice(tokens, [[startOf(i), startOf(i) + counts[i]!]]);
          return featureMap(ofLevel, padding(ratio), base * 2 ** i);
        }),
        ...hooked.map((state) =>
          featureMap(slice(state, [[0, counts[finest]!]]), padding(ratios[finest]!), fineSize),
        ),
      ]);
      return await run.evaluated(features);
    } finally {
      disposeAll(encoded);
    }
  }

  async #fieldOfView(
    model: FovModel,
    pixels: MxArray,
    global: MxArray,
    base: number,
    run: Run,
  ): Promise<number> {
    using picture = scope(() => interpolate(pixels, { size: this.config.fovModelConfig.imageSize }));
    const [tokens] = await model.fovEncoder.model.encode(picture, [], run);
    using held = tokens!;
    using degrees = await run.evaluated(scope(() => model.forward(held, global, base)));
    return Number(degrees.item());
  }

  /** Fuses the levels from coarse to fine; the last one ends in the depth head. */
  async #decode(global: MxArray, finer: readonly MxArray[], run: Run): Promise<MxArray> {
    const { intermediate, final } = this.fusionStage;
    const { neck } = this.depthPro;
    let x = await run.evaluated(scope(() => intermediate[0]!.refine(global)));
    for (const [i, feature] of finer.entries()) {
      const level = i + 1;
      const last = i === finer.length - 1;
      const layer = last ? final : intermediate[level]!;
      const projection = neck.featureProjection.projections[level];
      const upsampling = neck.upsampling(level);
      using coarser = x;
      const stages: Stage[] = [
        (_, from, to) => {
          const rows = upsampling.rows(feature, from, to);
          return projection ? projection.forward(rows) : rows;
        },
        (rows, from, to) => layer.join(slice(coarser, [null, [from, to]]), rows),
        (rows) => layer.refine(rows),
        ...(last ? [(rows: MxArray) => this.head.forward(rows)] : []),
      ];
      const reach = last ? fusionReach + headReach : fusionReach;
      x = await inBands(coarser, stages, { reach, cost: last ? bandCost.last : bandCost.doubling }, run);
      run.advance(decoderShare(level, finer.length) * run.decoderWork);
    }
    using depth = x;
    return squeeze(depth, 3);
  }

  /** The work of the encoders in pictures encoded, for the progress. */
  #work(side: number): number {
    const { patchSize, scaledImagesRatios: ratios, scaledImagesOverlapRatios: overlaps } = this.config;
    const patches = ratios.map((ratio, i) => {
      const stride = Math.floor(patchSize * (1 - overlaps[i]!));
      return (Math.floor((Math.floor(side * ratio) - patchSize) / stride) + 1) ** 2;
    });
    return patches.reduce((sum, n) => sum + n, this.fovModel ? 2 : 1);
  }
}

/** Each level has four times the pixels of the one before. */
const decoderShare = (level: number, levels: number): number =>
  4 ** level / Array.from({ length: levels }, (_, i) => 4 ** (i + 1)).reduce((sum, n) => sum + n, 0);

/** A part of the decoder for rows `from` to `to` of its level; `rows` is what the stage before gave for them. */
type Stage = (rows: MxArray, from: number, to: number) => MxArray;

/**
 * Runs stages over bands of rows of `like` and joins the results. A band is computed with `reach` rows more on either
 * side, which are cut off at the end: they are wrong, since a convolution takes what lies outside for zeros; at the
 * picture's own border that is what it should do. So the result is exactly that of the whole.
 */
async function inBands(
  like: MxArray,
  stages: readonly Stage[],
  { reach, cost }: { reach: number; cost: number },
  run: Run,
): Promise<MxArray> {
  const [, height, width, channels] = like.shape as [number, number, number, number];
  const rows = Math.max(1, Math.floor(run.workingSet / (4 * width * channels * cost)) - 2 * reach);
  const bands: MxArray[] = [];
  try {
    for (let start = 0; start < height; start += rows) {
      const end = Math.min(start + rows, height);
      const from = Math.max(0, start - reach);
      const to = Math.min(height, end + reach);
      let band = slice(like, [null, [from, to]]);
      for (const stage of stages) {
        using input = band;
        band = await run.evaluated(scope(() => stage(input, from, to)));
      }
      using whole = band;
      const scale = whole.shape[1]! / (to - from);
      bands.push(slice(whole, [null, [(start - from) * scale, (end - from) * scale]]));
    }
    return await run.evaluated(concatenate(bands, 1));
  } finally {
    disposeAll(bands);
  }
}

/** One forward pass: its limits, its signal and its progress. */
class Run {
  readonly workingSet: number;
  /** The decoder's work in the units of `advance`: about a quarter of the encoders' in the real sizes. */
  readonly decoderWork: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onProgress: ((done: number) => void) | undefined;
  readonly #total: number;
  #done = 0;

  constructor(options: DepthProOptions, encoderWork: number) {
    this.workingSet = options.workingSet ?? 2 ** 30;
    this.decoderWork = encoderWork / 4;
    this.#total = encoderWork + this.decoderWork;
    this.#signal = options.signal;
    this.#onProgress = options.onProgress;
  }

  /** The arrays themselves once they are computed; when that fails, they are released. */
  async evaluated<T extends MxArray | MxArray[]>(arrays: T): Promise<T> {
    try {
      await evaluate(arrays, { signal: this.#signal });
      return arrays;
    } catch (error) {
      disposeAll([arrays].flat());
      throw error;
    }
  }

  advance(work: number): void {
    this.#done += work;
    this.#onProgress?.(Math.min(this.#done / this.#total, 1));
  }

  finish(): void {
    this.#onProgress?.(1);
  }
}

function disposeAll(arrays: Iterable<MxArray>): void {
  for (const each of arrays) each.dispose();
}

// ---------------------------------------------------------------- files

/** Names of the attention layers in files written by transformers 5, and what they were before. */
const attentionNames: Readonly<Record<string, string>> = {
  q_proj: "attention.query",
  k_proj: "attention.key",
  v_proj: "attention.value",
  o_proj: "output.dense",
};

/** What real files carry and nothing computes with. */
const unusedKeys = [
  /\.embeddings\.mask_token$/,
  /\.num_batches_tracked$/,
  /^fusion_stage\.intermediate\.0\.residual_layer1\./,
];

/** The name that a model of this config has for a key of any known file; null for what it does not use. */
export function depthProKey(config: DepthProConfig): (key: string) => string | null {
  return (key) => {
    if (unusedKeys.some((unused) => unused.test(key))) return null;
    if (!config.useFovModel && key.startsWith("fov_model.")) return null;
    return key.replace(
      /\.attention\.([qkvo]_proj)\./,
      (_, name: string) => `.attention.${attentionNames[name]}.`,
    );
  };
}
