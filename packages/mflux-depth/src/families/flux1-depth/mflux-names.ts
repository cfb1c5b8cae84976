/*
 * mflux's names of FLUX.1's tensors. Keys are in the layout of diffusers and transformers; those that are saved have no
 * prefix `text_model.`, which CLIP's network does without.
 */
import type { T5Config } from "../../models/t5.js";
import type { SavedNames } from "../../weights/mflux.js";

export const clipNames: SavedNames = {
  namesOf: (key) => [`text_model.${key}`],
  keyOf: (name) => name,
};

/** T5's position bias, which mflux stores in every block and other libraries only in the first. */
const repeatedBias = /^encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\./;

export const t5Names: SavedNames<T5Config> = {
  namesOf(key, { numLayers }) {
    const name = key
      .replace(/^encoder\.block\.(\d+)\.layer\.0\./, "t5_blocks.$1.attention.")
      .replace(/^encoder\.block\.(\d+)\.layer\.1\./, "t5_blocks.$1.ff.")
      .replace(/^encoder\.final_layer_norm\./, "final_layer_norm.");
    if (!repeatedBias.test(key)) return [name];
    return Array.from({ length: numLayers }, (_, i) => name.replace(/^t5_blocks\.0\./, `t5_blocks.${i}.`));
  },
  keyOf(name) {
    const key = name
      .replace(/^t5_blocks\.(\d+)\.attention\./, "encoder.block.$1.layer.0.")
      .replace(/^t5_blocks\.(\d+)\.ff\./, "encoder.block.$1.layer.1.")
      .replace(/^final_layer_norm\./, "encoder.final_layer_norm.");
    const [, block = "0"] = repeatedBias.exec(key) ?? [];
    return block === "0" ? key : null;
  },
};

export const transformerNames: SavedNames = {
  namesOf: (key) => [
    key
      .replace(/\.(ff|ff_context)\.net\.0\.proj\./, ".$1.linear1.")
      .replace(/\.(ff|ff_context)\.net\.2\./, ".$1.linear2."),
  ],
  keyOf: (name) =>
    name
      .replace(/\.(ff|ff_context)\.linear1\./, ".$1.net.0.proj.")
      .replace(/\.(ff|ff_context)\.linear2\./, ".$1.net.2."),
  lostBias: { layer: "norm_out.linear", savedBy: "mflux 0.16 to 0.21" },
};

export const autoencoderNames: SavedNames = {
  namesOf: (key) => [
    key.replace(/\.(conv_in|conv_out)\./, ".$1.conv2d.").replace(/\.conv_norm_out\./, ".conv_norm_out.norm."),
  ],
  keyOf: (name) =>
    name
      .replace(/\.(conv_in|conv_out)\.conv2d\./, ".$1.")
      .replace(/\.conv_norm_out\.norm\./, ".conv_norm_out."),
};
