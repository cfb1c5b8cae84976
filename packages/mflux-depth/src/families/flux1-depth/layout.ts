import { componentNames } from "../family.js";

/** The folders with vocabularies: CLIP's and T5's. */
export const tokenizerFolders = ["tokenizer", "tokenizer_2"] as const;

/** The folders of a repository in the layout of diffusers. */
export const modelFolders: readonly string[] = ["scheduler", ...componentNames, ...tokenizerFolders].sort();

/** The file names of weights in mflux's layout, which has no configs, begin with this one. */
export const mfluxFirstShard = "0.safetensors";
