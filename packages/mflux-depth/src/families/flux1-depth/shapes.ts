import { join } from "node:path";
import { ModelError } from "../../errors.js";
import { openCheckpoint } from "../../weights/checkpoint.js";
import type { Checkpoint } from "../../weights/format.js";
import { savedGroupSize } from "../../weights/mflux.js";
import type { ConfigsFromShapes } from "../family.js";
import { folders } from "./layout.js";
import { requireDepthChannels } from "./recognise.js";

/**
 * Derives config values from the shapes of a model in mflux's layout, which has no configs.
 * @throws {ModelError} when a tensor is missing, or the transformer does not take a depth map.
 */
export function configsFromShapes(folder: string): ConfigsFromShapes {
  const open = (component: string): Shapes => new Shapes(openCheckpoint(join(folder, component)));
  const clip = open(folders.clip);
  const t5 = open(folders.t5);
  const vae = open(folders.autoencoder);
  const flux = open(folders.transformer);
  const headDim = flux.rows("transformer_blocks.0.attn.norm_q.weight");
  const clipEmbeddings = "text_model.embeddings";
  const clipLayer = "text_model.encoder.layers";
  const t5Attention = "t5_blocks.0.attention.SelfAttention";
  const t5Heads = t5.columns(`${t5Attention}.relative_attention_bias.weight`);
  const levels = vae.count("encoder.down_blocks");
  const configs = {
    [folders.clip]: {
      vocab_size: clip.rows(`${clipEmbeddings}.token_embedding.weight`),
      hidden_size: clip.columns(`${clipEmbeddings}.token_embedding.weight`),
      max_position_embeddings: clip.rows(`${clipEmbeddings}.position_embedding.weight`),
      intermediate_size: clip.rows(`${clipLayer}.0.mlp.fc1.weight`),
      num_hidden_layers: clip.count(clipLayer),
    },
    [folders.t5]: {
      vocab_size: t5.rows("shared.weight"),
      d_model: t5.columns("shared.weight"),
      d_kv: t5.rows(`${t5Attention}.q.weight`) / t5Heads,
      d_ff: t5.columns("t5_blocks.0.ff.DenseReluDense.wo.weight"),
      num_layers: t5.count("t5_blocks"),
      num_heads: t5Heads,
      relative_attention_num_buckets: t5.rows(`${t5Attention}.relative_attention_bias.weight`),
    },
    [folders.transformer]: {
      in_channels: flux.columns("x_embedder.weight"),
      out_channels: flux.rows("proj_out.weight"),
      attention_head_dim: headDim,
      num_attention_heads: flux.rows("x_embedder.weight") / headDim,
      num_layers: flux.count("transformer_blocks"),
      num_single_layers: flux.count("single_transformer_blocks"),
      joint_attention_dim: flux.columns("context_embedder.weight"),
      pooled_projection_dim: flux.columns("time_text_embed.text_embedder.linear_1.weight"),
      guidance_embeds: flux.has("time_text_embed.guidance_embedder.linear_1.weight"),
    },
    [folders.autoencoder]: {
      latent_channels: vae.columns("decoder.conv_in.conv2d.weight"),
      block_out_channels: Array.from({ length: levels }, (_, i) =>
        vae.rows(`encoder.down_blocks.${i}.resnets.0.conv1.weight`),
      ),
      layers_per_block: vae.count("encoder.down_blocks.0.resnets"),
    },
  };
  requireDepthChannels(flux.source, configs.transformer.in_channels, configs.vae.latent_channels);
  return configs;
}

/** The sizes of a component's tensors, by their names in mflux's layout. */
class Shapes {
  readonly #checkpoint: Checkpoint;

  constructor(checkpoint: Checkpoint) {
    this.#checkpoint = checkpoint;
  }

  get source(): string {
    return this.#checkpoint.source;
  }

  has(name: string): boolean {
    return this.#checkpoint.entries.has(name);
  }

  rows(name: string): number {
    return this.#shape(name)[0] ?? 0;
  }

  /** The number of a matrix's inputs: its last axis or, if it is quantized, its groups times their size. */
  columns(name: string): number {
    const groups = this.#checkpoint.entries.get(name.replace(/weight$/, "scales"))?.shape.at(-1);
    return groups === undefined ? (this.#shape(name).at(-1) ?? 0) : groups * savedGroupSize;
  }

  /** The number of items in a list of modules. */
  count(list: string): number {
    const items = [...this.#checkpoint.entries.keys()]
      .filter((name) => name.startsWith(`${list}.`))
      .map((name) => name.slice(list.length + 1).split(".")[0]);
    return new Set(items).size;
  }

  #shape(name: string): readonly number[] {
    const entry = this.#checkpoint.entries.get(name);
    if (!entry) throw new ModelError(this.#checkpoint.source, `tensor "${name}" is missing`);
    return entry.shape;
  }
}
