/*
 * Resolves the names that FLUX.1 adapters use for layers: those of diffusers or Black Forest Labs, with a trainer's
 * prefix, and with underscores or dots.
 */
import { propertyPath } from "@mflux-depth/mlx/nn";
import { replacedName } from "../../weights/adapters/keys.js";
import {
  type AdapterNames,
  type AdapterTarget,
  NameTable,
  type Replacement,
  type Spelling,
} from "../../weights/adapters/targets.js";
import {
  clipLayers,
  clipParameters,
  type FusedLayer,
  type LayerSize,
  normName,
  type ParameterShape,
  t5Layers,
  t5Parameters,
  transformerLayers,
} from "./layers.js";
import { folders } from "./layout.js";
import type { FluxConfigs } from "./networks.js";

const dotted = (prefix: string, writtenBy: string): Spelling => ({ prefix, separator: ".", writtenBy });
const underscored = (prefix: string, writtenBy: string): Spelling => ({ prefix, separator: "_", writtenBy });

const comfy = "ComfyUI, ai-toolkit";

/** All prefixes of the transformer occur with the names of both diffusers and Black Forest Labs. */
const transformerSpellings: readonly Spelling[] = [
  dotted("transformer.", "diffusers, PEFT"),
  dotted("", "DiffSynth, xlabs"),
  dotted("diffusion_model.", comfy),
  dotted("model.diffusion_model.", comfy),
  dotted("base_model.model.", "PEFT around a bare model, fal"),
  dotted("base_model.model.transformer.", "PEFT around a bare model, fal"),
  underscored("lora_unet_", "kohya"),
  underscored("lora_transformer_", "OneTrainer"),
  underscored("lycoris_", "LyCORIS, SimpleTuner"),
];
/** With or without CLIP's own prefix, `text_model.`. */
const clipSpellings: readonly Spelling[] = [
  dotted("text_encoder.", "diffusers, PEFT"),
  dotted("text_encoders.clip_l.transformer.", comfy),
  underscored("lora_te1_", "kohya, OneTrainer"),
  underscored("lora_te_", "kohya, OneTrainer"),
];
const t5Spellings: readonly Spelling[] = [
  dotted("text_encoder_2.", "diffusers, PEFT"),
  dotted("text_encoders.t5xxl.transformer.", comfy),
  underscored("lora_te3_", "kohya"),
  underscored("lora_te2_", "OneTrainer"),
];

/** Names of xlabs' layers, which are not modules, and how many parts of the fused layer they cover. */
const processors: readonly (readonly [fused: RegExp, name: string, parts?: number])[] = [
  [/^(double_blocks\.\d+)\.img_attn\.qkv$/, "$1.processor.qkv_lora1"],
  [/^(double_blocks\.\d+)\.txt_attn\.qkv$/, "$1.processor.qkv_lora2"],
  [/^(double_blocks\.\d+)\.img_attn\.proj$/, "$1.processor.proj_lora1"],
  [/^(double_blocks\.\d+)\.txt_attn\.proj$/, "$1.processor.proj_lora2"],
  [/^(single_blocks\.\d+)\.linear1$/, "$1.processor.qkv_lora", 3],
  [/^(single_blocks\.\d+)\.linear2$/, "$1.processor.proj_lora"],
];

type UnspelledTarget = Omit<AdapterTarget, "writtenBy">;

/** Resolves the names of adapters for a model with these configs. */
export function adapterNames({ transformer, text_encoder, text_encoder_2, vae }: FluxConfigs): AdapterNames {
  const table = new NameTable();
  // FLUX.1-dev takes only the latents; FLUX.1 Depth also takes the control latents, which follow them.
  const latents = 4 * vae.latentChannels;
  const targetOf = (fused: FusedLayer, parts = fused.parts): UnspelledTarget => ({
    component: folders.transformer,
    parts: parts.map(({ name, rows }) => ({ path: propertyPath(name), rows })),
    columns: parts[0]!.columns,
    ...(fused.name === "img_in" && { earlierColumns: latents }),
  });
  for (const fused of transformerLayers(transformer)) {
    for (const part of fused.parts) table.add(part.name, targetOf(fused, [part]), transformerSpellings);
    table.add(fused.name, { ...targetOf(fused), swapsHalves: fused.swapsHalves }, transformerSpellings);
    for (const [pattern, name, count] of processors)
      if (pattern.test(fused.name))
        table.add(
          fused.name.replace(pattern, name),
          targetOf(fused, fused.parts.slice(0, count)),
          transformerSpellings,
        );
  }
  for (const layer of clipLayers(text_encoder))
    for (const name of [layer.name, `text_model.${layer.name}`])
      table.add(name, encoderTarget(folders.clip, layer), clipSpellings);
  for (const layer of t5Layers(text_encoder_2))
    table.add(layer.name, encoderTarget(folders.t5, layer), t5Spellings);
  const { attentionHeadDim } = transformer;
  const parameters = new Map([
    ...clipParameters(text_encoder).flatMap((one) => [
      ...spelled(folders.clip, one, clipSpellings),
      ...spelled(folders.clip, one, clipSpellings, "text_model."),
    ]),
    ...t5Parameters(text_encoder_2).flatMap((one) => spelled(folders.t5, one, t5Spellings)),
  ]);
  return {
    find: (name) => table.find(name),
    replacement(key) {
      const name = normName(bareNorm(key));
      if (name === null) return parameters.get(replacedName(key) ?? "");
      const path = propertyPath(name);
      return {
        component: folders.transformer,
        parts: [{ path, rows: attentionHeadDim }],
        shape: [attentionHeadDim],
        isControl: true,
      };
    },
    otherModel,
  };
}

/** A parameter outside linear layers under the names that `.set_weight` has for it: without ".weight", or with ".bias". */
function spelled(
  component: string,
  { name, shape }: ParameterShape,
  spellings: readonly Spelling[],
  before = "",
): [string, Replacement][] {
  const bare = name.replace(/\.weight$/, "");
  const replacement = { component, parts: [{ path: propertyPath(name), rows: shape[0]! }], shape };
  return spellings.map(({ prefix, separator }) => [
    prefix + (before + bare).replaceAll(".", separator),
    replacement,
  ]);
}

/** The name of the norm that a key in ComfyUI's spelling replaces; other keys are unchanged. */
const bareNorm = (key: string): string =>
  key.replace(/^(?:model\.)?diffusion_model\.(.+_norm\.scale)\.set_weight$/, "$1");

const encoderTarget = (component: string, { name, rows, columns }: LayerSize): UnspelledTarget => ({
  component,
  parts: [{ path: propertyPath(name), rows }],
  columns,
});

/** Names of layers in other models; the first matching pattern decides. */
const others: readonly (readonly [pattern: RegExp, model: string])[] = [
  [/lora_te2_text_model_|text_encoder_2\.text_model|clip_g/, "Stable Diffusion XL or 3"],
  [/(input|output|middle)_blocks?_\d|(down|up)_blocks?[._]\d|mid_block/, "Stable Diffusion 1, 2 or XL"],
  [/joint_blocks|attn2\.(to_|add_)|transformer_blocks\.\d+\.norm1_context\.linear_1/, "Stable Diffusion 3"],
  [
    /(double|single)_stream_modulation|to_qkv_mlp_proj|ff\.linear_(in|out)|ff_context\.linear_(in|out)/,
    "FLUX.2",
  ],
  [/transformer_blocks[._]\d+[._](img|txt)_(mod|mlp)[._]/, "Qwen-Image"],
  [/distilled_guidance_layer/, "Chroma"],
  [/blocks[._]\d+[._](self_attn|cross_attn|ffn)[._]/, "Wan"],
  [/img_attn_(qkv|proj)|txt_attn_(qkv|proj)|individual_token_refiner/, "HunyuanVideo"],
  [/caption_projection|adaln_single/, "LTX-Video or PixArt"],
  [/(context|noise)_refiner|layers[._]\d+[._](attention|feed_forward)[._]/, "Z-Image or Lumina 2"],
  [/double_layers|single_layers/, "AuraFlow"],
  [/caption_projection|llama|t_embedder/, "HiDream"],
  [
    /(double|single)_blocks[._]\d+[._]|(single_)?transformer_blocks[._]\d+[._]/,
    "a FLUX.1 model with other layers",
  ],
];

const otherModel = (name: string): string | null =>
  others.find(([pattern]) => pattern.test(name))?.[1] ?? null;
