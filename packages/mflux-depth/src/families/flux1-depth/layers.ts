/*
 * The linear layers of FLUX.1's networks, with the names of diffusers and transformers, and with those of Black Forest
 * Labs, whose files fuse some of them: a fused layer consists of the rows of its parts, in order. (diffusers:
 * loaders/single_file_utils.py, convert_flux_transformer_checkpoint_to_diffusers.)
 */
import type { ClipTextConfig } from "../../models/clip.js";
import type { FluxTransformerConfig } from "../../models/flux-transformer.js";
import type { T5Config } from "../../models/t5.js";

/** A linear layer, `[rows, columns]`. */
export interface LayerSize {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

/** A linear layer of Black Forest Labs' transformer, and the layers of diffusers that it consists of. */
export interface FusedLayer {
  readonly name: string;
  readonly parts: readonly LayerSize[];
  /** Whether the halves of its rows are swapped: shift, scale instead of scale, shift. */
  readonly swapsHalves?: boolean;
}

/** Channels of the sinusoids that encode time and guidance. */
const sinusoidChannels = 256;

/** All linear layers of the transformer. */
export function transformerLayers(config: FluxTransformerConfig): FusedLayer[] {
  const { numLayers, numSingleLayers, inChannels, outChannels, guidanceEmbeds } = config;
  const { jointAttentionDim, pooledProjectionDim, numAttentionHeads, attentionHeadDim } = config;
  const dims = numAttentionHeads * attentionHeadDim;
  const embedder = (name: string, theirs: string, columns: number): FusedLayer[] => [
    one(`${name}.in_layer`, `time_text_embed.${theirs}.linear_1`, dims, columns),
    one(`${name}.out_layer`, `time_text_embed.${theirs}.linear_2`, dims, dims),
  ];
  return [
    one("img_in", "x_embedder", dims, inChannels),
    one("txt_in", "context_embedder", dims, jointAttentionDim),
    ...embedder("time_in", "timestep_embedder", sinusoidChannels),
    ...embedder("vector_in", "text_embedder", pooledProjectionDim),
    ...(guidanceEmbeds ? embedder("guidance_in", "guidance_embedder", sinusoidChannels) : []),
    ...range(numLayers).flatMap((block) => doubleBlock(block, dims)),
    ...range(numSingleLayers).flatMap((block) => singleBlock(block, dims)),
    one("final_layer.linear", "proj_out", outChannels, dims),
    { ...one("final_layer.adaLN_modulation.1", "norm_out.linear", 2 * dims, dims), swapsHalves: true },
  ];
}

function doubleBlock(block: number, dims: number): FusedLayer[] {
  const [theirs, ours] = [`double_blocks.${block}`, `transformer_blocks.${block}`];
  const stream = (
    prefix: string,
    names: Readonly<Record<"q" | "k" | "v" | "out" | "ff" | "norm", string>>,
  ) => [
    {
      name: `${theirs}.${prefix}_attn.qkv`,
      parts: [names.q, names.k, names.v].map((name) => size(`${ours}.attn.${name}`, dims, dims)),
    },
    one(`${theirs}.${prefix}_attn.proj`, `${ours}.attn.${names.out}`, dims, dims),
    one(`${theirs}.${prefix}_mlp.0`, `${ours}.${names.ff}.net.0.proj`, 4 * dims, dims),
    one(`${theirs}.${prefix}_mlp.2`, `${ours}.${names.ff}.net.2`, dims, 4 * dims),
    one(`${theirs}.${prefix}_mod.lin`, `${ours}.${names.norm}.linear`, 6 * dims, dims),
  ];
  return [
    ...stream("img", { q: "to_q", k: "to_k", v: "to_v", out: "to_out.0", ff: "ff", norm: "norm1" }),
    ...stream("txt", {
      q: "add_q_proj",
      k: "add_k_proj",
      v: "add_v_proj",
      out: "to_add_out",
      ff: "ff_context",
      norm: "norm1_context",
    }),
  ];
}

function singleBlock(block: number, dims: number): FusedLayer[] {
  const [theirs, ours] = [`single_blocks.${block}`, `single_transformer_blocks.${block}`];
  return [
    {
      name: `${theirs}.linear1`,
      parts: [
        ...["to_q", "to_k", "to_v"].map((name) => size(`${ours}.attn.${name}`, dims, dims)),
        size(`${ours}.proj_mlp`, 4 * dims, dims),
      ],
    },
    one(`${theirs}.linear2`, `${ours}.proj_out`, dims, 5 * dims),
    one(`${theirs}.modulation.lin`, `${ours}.norm.linear`, 3 * dims, dims),
  ];
}

/** The linear layers of CLIP's text encoder. */
export function clipLayers({ numHiddenLayers, hiddenSize, intermediateSize }: ClipTextConfig): LayerSize[] {
  return range(numHiddenLayers).flatMap((layer) => {
    const prefix = `encoder.layers.${layer}`;
    return [
      ...["q_proj", "k_proj", "v_proj", "out_proj"].map((name) =>
        size(`${prefix}.self_attn.${name}`, hiddenSize, hiddenSize),
      ),
      size(`${prefix}.mlp.fc1`, intermediateSize, hiddenSize),
      size(`${prefix}.mlp.fc2`, hiddenSize, intermediateSize),
    ];
  });
}

/** The linear layers of T5's encoder. */
export function t5Layers({ numLayers, dModel, dFf, dKv, numHeads, feedForwardProj }: T5Config): LayerSize[] {
  const inner = numHeads * dKv;
  return range(numLayers).flatMap((block) => {
    const [attention, feedForward] = [0, 1].map((layer) => `encoder.block.${block}.layer.${layer}`);
    return [
      ...["q", "k", "v"].map((name) => size(`${attention}.SelfAttention.${name}`, inner, dModel)),
      size(`${attention}.SelfAttention.o`, dModel, inner),
      ...(feedForwardProj === "relu" ? ["wi"] : ["wi_0", "wi_1"]).map((name) =>
        size(`${feedForward}.DenseReluDense.${name}`, dFf, dModel),
      ),
      size(`${feedForward}.DenseReluDense.wo`, dModel, dFf),
    ];
  });
}

/** A parameter that belongs to no linear layer. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The embeddings and norms of CLIP's text encoder. */
export function clipParameters(config: ClipTextConfig): ParameterShape[] {
  const { numHiddenLayers, hiddenSize, vocabSize, maxPositionEmbeddings } = config;
  const norm = (name: string): ParameterShape[] =>
    ["weight", "bias"].map((parameter) => ({ name: `${name}.${parameter}`, shape: [hiddenSize] }));
  return [
    { name: "embeddings.token_embedding.weight", shape: [vocabSize, hiddenSize] },
    { name: "embeddings.position_embedding.weight", shape: [maxPositionEmbeddings, hiddenSize] },
    ...range(numHiddenLayers).flatMap((layer) =>
      [1, 2].flatMap((n) => norm(`encoder.layers.${layer}.layer_norm${n}`)),
    ),
    ...norm("final_layer_norm"),
  ];
}

/** The embeddings and norms of T5's encoder. */
export function t5Parameters(config: T5Config): ParameterShape[] {
  const { numLayers, dModel, vocabSize, numHeads, relativeAttentionNumBuckets } = config;
  return [
    { name: "shared.weight", shape: [vocabSize, dModel] },
    {
      name: "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      shape: [relativeAttentionNumBuckets, numHeads],
    },
    ...range(numLayers).flatMap((block) =>
      [0, 1].map((layer) => ({
        name: `encoder.block.${block}.layer.${layer}.layer_norm.weight`,
        shape: [dModel],
      })),
    ),
    { name: "encoder.final_layer_norm.weight", shape: [dModel] },
  ];
}

/** Norms of queries and keys, by block. */
const norms: readonly (readonly [theirs: RegExp, ours: string])[] = [
  [/^double_blocks\.(\d+)\.img_attn\.norm\.query_norm\.scale$/, "transformer_blocks.$1.attn.norm_q.weight"],
  [/^double_blocks\.(\d+)\.img_attn\.norm\.key_norm\.scale$/, "transformer_blocks.$1.attn.norm_k.weight"],
  [
    /^double_blocks\.(\d+)\.txt_attn\.norm\.query_norm\.scale$/,
    "transformer_blocks.$1.attn.norm_added_q.weight",
  ],
  [
    /^double_blocks\.(\d+)\.txt_attn\.norm\.key_norm\.scale$/,
    "transformer_blocks.$1.attn.norm_added_k.weight",
  ],
  [/^single_blocks\.(\d+)\.norm\.query_norm\.scale$/, "single_transformer_blocks.$1.attn.norm_q.weight"],
  [/^single_blocks\.(\d+)\.norm\.key_norm\.scale$/, "single_transformer_blocks.$1.attn.norm_k.weight"],
];

/** The diffusers name of a norm's weight; null if the name is not one of Black Forest Labs' norms. */
export function normName(theirs: string): string | null {
  const norm = norms.find(([pattern]) => pattern.test(theirs));
  return norm ? theirs.replace(...norm) : null;
}

const size = (name: string, rows: number, columns: number): LayerSize => ({ name, rows, columns });

/** A layer that is not fused. */
const one = (name: string, part: string, rows: number, columns: number): FusedLayer => ({
  name,
  parts: [size(part, rows, columns)],
});

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
