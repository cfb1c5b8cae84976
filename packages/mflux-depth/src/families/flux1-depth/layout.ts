import { schedulerFolder } from "../../files/repository-layout.js";

/** The networks' folders, in the order of a generation. */
export const folders = {
  clip: "text_encoder",
  t5: "text_encoder_2",
  transformer: "transformer",
  autoencoder: "vae",
} as const;

/** The components, which are named after their folders. */
export const componentNames = Object.values(folders);

/** The folders of the text encoders' tokenizers. */
export const tokenizers = { clip: "tokenizer", t5: "tokenizer_2" } as const;

/** The folders of a repository in the layout of diffusers. */
export const modelFolders: readonly string[] = [
  schedulerFolder,
  ...componentNames,
  ...Object.values(tokenizers),
].sort();

/** The first file of a component's weights in mflux's layout, which has no configs. */
export const mfluxFirstShard = "0.safetensors";
