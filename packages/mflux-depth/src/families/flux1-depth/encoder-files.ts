/*
 * Opens text encoders that have their own files: safetensors with the names of transformers, or T5 in GGUF with
 * llama.cpp's names. (llama.cpp: gguf-py/gguf/tensor_mapping.py.)
 */
import type { Checkpoint } from "../../weights/format.js";
import { type BlockOptions, isGguf } from "../../weights/gguf/checkpoint.js";
import { openSingleFile } from "../../weights/single-file.js";
import { translated } from "../../weights/translated.js";

/** llama.cpp's names of T5's tensors. */
const t5Names: readonly (readonly [theirs: RegExp, ours: string])[] = [
  [/^token_embd\./, "shared."],
  [/^enc\.output_norm\./, "encoder.final_layer_norm."],
  [/^enc\.blk\.(\d+)\.attn_([qkvo])\./, "encoder.block.$1.layer.0.SelfAttention.$2."],
  [/^enc\.blk\.(\d+)\.attn_rel_b\./, "encoder.block.$1.layer.0.SelfAttention.relative_attention_bias."],
  [/^enc\.blk\.(\d+)\.attn_norm\./, "encoder.block.$1.layer.0.layer_norm."],
  [/^enc\.blk\.(\d+)\.ffn_gate\./, "encoder.block.$1.layer.1.DenseReluDense.wi_0."],
  [/^enc\.blk\.(\d+)\.ffn_up\./, "encoder.block.$1.layer.1.DenseReluDense.wi_1."],
  [/^enc\.blk\.(\d+)\.ffn_down\./, "encoder.block.$1.layer.1.DenseReluDense.wo."],
  [/^enc\.blk\.(\d+)\.ffn_norm\./, "encoder.block.$1.layer.1.layer_norm."],
  [/^dec\./, "decoder."],
];

/** Opens CLIP's text encoder in one file. */
export const openClipFile = (path: string, options?: BlockOptions): Checkpoint =>
  openSingleFile(path, options);

/** Opens T5's encoder in one file. */
export function openT5File(path: string, options?: BlockOptions): Checkpoint {
  const checkpoint = openSingleFile(path, options);
  if (!isGguf(path)) return checkpoint;
  return translated(checkpoint, (name) => {
    const known = t5Names.find(([theirs]) => theirs.test(name));
    const rows = checkpoint.entries.get(name)!.shape[0] ?? 1;
    return known ? { parts: [{ name: name.replace(...known), rows }] } : null;
  });
}
