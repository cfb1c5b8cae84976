/*
 * FLUX.1's transformer in one file, with the names of Black Forest Labs or of diffusers.
 */
import { ModelError } from "../../errors.js";
import { fluxTransformerConfig } from "../../models/flux-transformer.js";
import type { Checkpoint } from "../../weights/format.js";
import { type TensorParts, translated } from "../../weights/translated.js";
import type { SingleFile } from "../family.js";
import { normName, transformerLayers } from "./layers.js";
import { requireBaseChannels, requireDepthChannels } from "./recognise.js";

/** The sizes of a head's axes in all published models, whose heads are 128 wide. Files do not contain them. */
const usualHead = 128;
const usualAxes = [16, 56, 56];

/** Whether a checkpoint uses the names of Black Forest Labs. */
const isFused = ({ entries }: Checkpoint): boolean => entries.has("img_in.weight");

export const singleFile: SingleFile = {
  configOf(checkpoint, components, isBase = false) {
    const size = sizesIn(checkpoint);
    const dims = size("img_in.weight", "x_embedder.weight", 0);
    const head = size(
      "double_blocks.0.img_attn.norm.query_norm.scale",
      "transformer_blocks.0.attn.norm_q.weight",
      0,
    );
    const outChannels = size("final_layer.linear.weight", "proj_out.weight", 0);
    const inChannels = size("img_in.weight", "x_embedder.weight", 1);
    const requireChannels = isBase ? requireBaseChannels : requireDepthChannels;
    requireChannels(checkpoint.source, inChannels, outChannels / 4);
    return {
      _class_name: "FluxTransformer2DModel",
      attention_head_dim: head,
      num_attention_heads: dims / head,
      in_channels: inChannels,
      out_channels: outChannels,
      num_layers: countOf(checkpoint, /^(?:double_blocks|transformer_blocks)\.(\d+)\./),
      num_single_layers: countOf(checkpoint, /^(?:single_blocks|single_transformer_blocks)\.(\d+)\./),
      joint_attention_dim: size("txt_in.weight", "context_embedder.weight", 1),
      pooled_projection_dim: size(
        "vector_in.in_layer.weight",
        "time_text_embed.text_embedder.linear_1.weight",
        1,
      ),
      guidance_embeds: [
        "guidance_in.in_layer.weight",
        "time_text_embed.guidance_embedder.linear_1.weight",
      ].some((name) => checkpoint.entries.has(name)),
      axes_dims_rope: axesOf(checkpoint, head, components),
    };
  },
  translate(checkpoint, config) {
    if (!isFused(checkpoint)) return checkpoint;
    const parts = new Map<string, TensorParts>();
    for (const { name, swapsHalves, parts: layers } of transformerLayers(
      fluxTransformerConfig(config, checkpoint.source),
    ))
      for (const kind of ["weight", "scales", "biases", "bias"])
        parts.set(`${name}.${kind}`, {
          parts: layers.map((layer) => ({ name: `${layer.name}.${kind}`, rows: layer.rows })),
          swapsHalves,
        });
    return translated(checkpoint, (name) => parts.get(name) ?? normOf(checkpoint, name));
  },
  describe: (config) => [
    ["blocks", `${config.num_layers} double, ${config.num_single_layers} single`],
    ["heads", `${config.num_attention_heads} of ${config.attention_head_dim}`],
  ],
};

function normOf({ entries }: Checkpoint, theirs: string): TensorParts | null {
  const name = normName(theirs);
  return name === null ? null : { parts: [{ name, rows: entries.get(theirs)!.shape[0] ?? 1 }] };
}

/** Makes a function that reads the size of a tensor's axis under one of its two names. */
function sizesIn({ entries, source }: Checkpoint): (theirs: string, ours: string, axis: number) => number {
  return (theirs, ours, axis) => {
    const found = (entries.get(theirs) ?? entries.get(ours))?.shape[axis];
    if (found === undefined || found < 1)
      throw new ModelError(
        source,
        `this is not FLUX.1's transformer: it has neither "${theirs}" nor "${ours}" with ${axis + 1} or more axes`,
      );
    return found;
  };
}

/** The number of blocks. */
function countOf({ entries }: Checkpoint, block: RegExp): number {
  const indices = [...entries.keys()].flatMap((name) => block.exec(name)?.[1] ?? []);
  return new Set(indices).size;
}

/** The sizes of a head's axes: the usual ones, or those of the model that provides the other components. */
function axesOf(
  { source }: Checkpoint,
  head: number,
  { attention_head_dim: otherHead, axes_dims_rope: otherAxes }: Readonly<Record<string, unknown>>,
): unknown {
  if (otherHead === head && otherAxes !== undefined) return otherAxes;
  if (head === usualHead) return usualAxes;
  throw new ModelError(
    source,
    `its heads are ${head} wide, and the file does not say how their axes are divided`,
    {
      details: {
        remedies: [
          { kind: "set-option", option: "componentsFrom", purpose: "name the model that it was made from" },
        ],
      },
    },
  );
}
