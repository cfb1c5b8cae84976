import type { ClipTextEncoder } from "../../models/clip.js";
import { type T5Encoder, t5WorkingBytes } from "../../models/t5.js";
import { ClipTokenizer } from "../../tokenizers/clip.js";
import { T5Tokenizer } from "../../tokenizers/t5.js";
import type { TextEncoding } from "../family.js";
import { folders, tokenizers } from "./layout.js";
import type { FluxConfigs } from "./networks.js";

/** CLIP, whose embedding of the whole prompt modulates the transformer. */
export const clipEncoding: TextEncoding<FluxConfigs> = {
  component: folders.clip,
  name: "CLIP",
  makes: "the pooled embeddings",
  attended: false,
  tokenizer: tokenizers.clip,
  openTokenizer: (folder, { text_encoder }) =>
    ClipTokenizer.load(folder, { positions: text_encoder.maxPositionEmbeddings }),
  encode: (network: ClipTextEncoder, ids) => network.stages(ids),
  // Needs less than T5, and finishes before it.
};

/** T5, whose embeddings of the prompt's tokens the transformer attends to. */
export const t5Encoding: TextEncoding<FluxConfigs> = {
  component: folders.t5,
  name: "T5",
  makes: "the prompt embeddings",
  attended: true,
  tokenizer: tokenizers.t5,
  openTokenizer: (folder) => T5Tokenizer.load(folder),
  encode: (network: T5Encoder, ids) => network.stages(ids),
  workingMemory: ({ text_encoder_2 }, tokens, bytesPerValue) =>
    t5WorkingBytes(text_encoder_2, tokens, bytesPerValue),
};
