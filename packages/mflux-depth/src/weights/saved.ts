import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { requireDepthChannels, requireFluxDepth } from "../hub/repository.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint.js";
import { variantIn } from "./files.js";
import {
  type ComponentName,
  components,
  isSaved,
  lacksBias,
  lostBias,
  type StoredBits,
  savedGroupSize,
  storedBits,
} from "./mflux.js";

/** Where the parts of a model lie, and how they are stored. */
export interface ModelFiles {
  /** Weights and tokenizers. */
  readonly folder: string;
  /** Configs and scheduler: the same folder, or another for a model that mflux saved. */
  readonly configs: string;
  /** The weights that a transformer was made from, where a tensor of it got lost. */
  readonly original: string | null;
  /** Bits of the transformer's matrices as stored; null when they are not quantized. */
  readonly storedBits: StoredBits | null;
  /** One sentence for each thing that is not quite as expected. */
  readonly notes: readonly string[];
  /** Of a model that we saved. */
  readonly origin: Origin | null;
}

/** The configs of FLUX.1-Depth-dev. */
const depthDevConfigs = fileURLToPath(new URL("../../../models/flux1-depth-dev", import.meta.url));

/**
 * Looks at a model's folder: configs and headers, no weights.
 * @param configFrom a folder with the configs, for a model that mflux saved: such a folder has none.
 * @param variant of the weights, where there are several.
 * @throws {ModelError} when it is not FLUX.1 Depth, incomplete, damaged, or the configs are not its own.
 */
export function openModel(folder: string, configFrom?: string, variant?: string): ModelFiles {
  const weights = join(folder, "transformer");
  const hasConfigs = existsSync(join(weights, "config.json"));
  if (hasConfigs || !isFolder(weights)) requireFluxDepth(folder);
  const transformer = openCheckpoint(weights, { variant: variantIn(weights, variant) });
  const notes: string[] = [];
  let configs = folder;
  if (hasConfigs && configFrom !== undefined)
    notes.push(`configFrom is ${configFrom}, without effect: the model has configs of its own.`);
  else if (!hasConfigs && isSaved(transformer)) configs = configsFor(folder, transformer, configFrom);
  else if (!hasConfigs) requireFluxDepth(folder);

  const original = lacksBias(transformer) ? originalOf(configs) : null;
  if (lacksBias(transformer))
    notes.push(
      original
        ? `${lostBias} is missing, as in what mflux 0.16 to 0.21 saved: it is read from ${original}.`
        : `${lostBias} is missing, as in what mflux 0.16 to 0.21 saved: zeros take its place, and pictures differ from the original model's; configFrom with a folder that has the original weights gives it back.`,
    );
  return { folder, configs, original, storedBits: storedBits(transformer), notes, origin: originOf(folder) };
}

/** The configs of a model that mflux saved, which must agree with its sizes. */
function configsFor(folder: string, transformer: Checkpoint, configFrom: string | undefined): string {
  for (const part of components)
    if (!isFolder(join(folder, part)))
      throw new ModelError(folder, `the folder ${part} is missing; is it the whole of what mflux saved?`);
  const sizes = sizesOf(folder, transformer);
  requireDepthChannels(transformer.source, sizes.transformer.in_channels, sizes.vae.latent_channels);
  const configs = configFrom ?? depthDevConfigs;
  requireFluxDepth(folder, configs);
  const contradiction = contradictionOf(sizes, configs);
  if (contradiction === null) return configs;
  throw new ModelError(
    folder,
    configFrom !== undefined
      ? `it was not made from the configs in ${configFrom}: ${contradiction}`
      : `mflux saved it without configs, and by its sizes it is not FLUX.1-Depth-dev (${contradiction}); ` +
          "name the folder or repository that it was made from as configFrom",
    { details: { remedies: [{ kind: "set-option", option: "configFrom" }] } },
  );
}

/** The folder of transformer weights beside configs, if they have what got lost. */
function originalOf(configs: string): string | null {
  const folder = join(configs, "transformer");
  if (!readdirSync(folder).some((name) => name.endsWith(".safetensors"))) return null;
  return openCheckpoint(folder).entries.has(lostBias) ? folder : null;
}

type Sizes = Readonly<Record<string, number | boolean | readonly number[]>>;

/** What shapes say of the values of each config. */
function sizesOf(folder: string, transformer: Checkpoint): Record<ComponentName, Sizes> {
  const open = (part: ComponentName): Shapes => new Shapes(openCheckpoint(join(folder, part)));
  const [clip, t5, vae, flux] = [
    open("text_encoder"),
    open("text_encoder_2"),
    open("vae"),
    new Shapes(transformer),
  ];
  const headDim = flux.rows("transformer_blocks.0.attn.norm_q.weight");
  const clipEmbeddings = "text_model.embeddings";
  const clipLayer = "text_model.encoder.layers";
  const t5Attention = "t5_blocks.0.attention.SelfAttention";
  const t5Heads = t5.columns(`${t5Attention}.relative_attention_bias.weight`);
  const levels = vae.count("encoder.down_blocks");
  return {
    text_encoder: {
      vocab_size: clip.rows(`${clipEmbeddings}.token_embedding.weight`),
      hidden_size: clip.columns(`${clipEmbeddings}.token_embedding.weight`),
      max_position_embeddings: clip.rows(`${clipEmbeddings}.position_embedding.weight`),
      intermediate_size: clip.rows(`${clipLayer}.0.mlp.fc1.weight`),
      num_hidden_layers: clip.count(clipLayer),
    },
    text_encoder_2: {
      vocab_size: t5.rows("shared.weight"),
      d_model: t5.columns("shared.weight"),
      d_kv: t5.rows(`${t5Attention}.q.weight`) / t5Heads,
      d_ff: t5.columns("t5_blocks.0.ff.DenseReluDense.wo.weight"),
      num_layers: t5.count("t5_blocks"),
      num_heads: t5Heads,
      relative_attention_num_buckets: t5.rows(`${t5Attention}.relative_attention_bias.weight`),
    },
    transformer: {
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
    vae: {
      latent_channels: vae.columns("decoder.conv_in.conv2d.weight"),
      block_out_channels: Array.from({ length: levels }, (_, i) =>
        vae.rows(`encoder.down_blocks.${i}.resnets.0.conv1.weight`),
      ),
      layers_per_block: vae.count("encoder.down_blocks.0.resnets"),
    },
  };
}

/** Sizes by the names that mflux gives to tensors. */
class Shapes {
  readonly #checkpoint: Checkpoint;

  constructor(checkpoint: Checkpoint) {
    this.#checkpoint = checkpoint;
  }

  has(name: string): boolean {
    return this.#checkpoint.entries.has(name);
  }

  rows(name: string): number {
    return this.#shape(name)[0] ?? 0;
  }

  /** Inputs: the last axis, of quantized matrices the groups' widths together. */
  columns(name: string): number {
    const groups = this.#checkpoint.entries.get(name.replace(/weight$/, "scales"))?.shape.at(-1);
    return groups === undefined ? (this.#shape(name).at(-1) ?? 0) : groups * savedGroupSize;
  }

  /** How many items a list of modules has. */
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

/** The first size that is not what the configs say. */
function contradictionOf(sizes: Readonly<Record<ComponentName, Sizes>>, configs: string): string | null {
  for (const part of components) {
    const config = readConfig(join(configs, part), "config.json");
    for (const [key, size] of Object.entries(sizes[part])) {
      const said = config[key];
      if (said !== undefined && said !== null && JSON.stringify(said) !== JSON.stringify(size))
        return `${key} of ${part} is ${JSON.stringify(size)} in the weights and ${JSON.stringify(said)} in the config`;
    }
  }
  return null;
}

/** Beside the parts of a model that we saved. */
export const originFile = "mflux-depth.json";

/** What a saved model was made from. */
export interface Origin {
  /** As it was asked for. */
  readonly model: string;
  readonly revision: string | null;
}

/** What the folder says that it was made from; null when it says nothing. */
function originOf(folder: string): Origin | null {
  if (!existsSync(join(folder, originFile))) return null;
  const { model, revision } = readConfig(folder, originFile);
  if (typeof model !== "string") return null;
  return { model, revision: typeof revision === "string" ? revision : null };
}
