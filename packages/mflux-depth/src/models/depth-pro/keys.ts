import type { DepthProConfig } from "./config.js";

/** The attention layers' names in files written by transformers 5, and the names before. */
const attentionNames: Readonly<Record<string, string>> = {
  q_proj: "attention.query",
  k_proj: "attention.key",
  v_proj: "attention.value",
  o_proj: "output.dense",
};

/** Tensors that files contain and the model never uses. */
const unusedKeys = [
  /\.embeddings\.mask_token$/,
  /\.num_batches_tracked$/,
  /^fusion_stage\.intermediate\.0\.residual_layer1\./,
];

/** Maps a file's name of a tensor to the model's; null if a model with this config does not use the tensor. */
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
