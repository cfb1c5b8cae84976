import { componentNames } from "../family.js";

/** The folder of each text encoder's tokenizer: CLIP's and T5's. */
export const tokenizers = { text_encoder: "tokenizer", text_encoder_2: "tokenizer_2" } as const;

/** The folders of a repository in the layout of diffusers. */
export const modelFolders: readonly string[] = [
  "scheduler",
  ...componentNames,
  ...Object.values(tokenizers),
].sort();

/** The first file of a component's weights in mflux's layout, which has no configs. */
export const mfluxFirstShard = "0.safetensors";
