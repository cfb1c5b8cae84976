import { schedulerFolder } from "../../files/repository-layout.js";
import type { FluxNetworks } from "./networks.js";

/** The networks' folders, in the order of a generation. */
export const componentNames = [
  "text_encoder",
  "text_encoder_2",
  "transformer",
  "vae",
] as const satisfies readonly (keyof FluxNetworks)[];

/** The folder of each text encoder's tokenizer: CLIP's and T5's. */
export const tokenizers = { text_encoder: "tokenizer", text_encoder_2: "tokenizer_2" } as const;

/** The folders of a repository in the layout of diffusers. */
export const modelFolders: readonly string[] = [
  schedulerFolder,
  ...componentNames,
  ...Object.values(tokenizers),
].sort();

/** The first file of a component's weights in mflux's layout, which has no configs. */
export const mfluxFirstShard = "0.safetensors";
