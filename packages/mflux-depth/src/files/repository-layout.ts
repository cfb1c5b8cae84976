/*
 * The names that diffusers and transformers give to the files of a model's repository.
 */

/** The config of one network, next to its weights. */
export const configFile = "config.json";

/** How pixels become the input of a network, next to its config. */
export const preprocessorFile = "preprocessor_config.json";

/** The index of a pipeline of several networks, in the repository's root. */
export const modelIndexFile = "model_index.json";

/** PEFT's files of an adapter: weights, and a config with the strengths of layers. */
export const peftWeightsFile = "adapter_model.safetensors";
export const peftConfigFile = "adapter_config.json";

/** The folder of a pipeline's scheduler, and the config in it. */
export const schedulerFolder = "scheduler";
export const schedulerConfigFile = "scheduler_config.json";

/** The files of a tokenizer's folder: rules and vocabulary, settings, and tokens with a role. */
export const tokenizerFile = "tokenizer.json";
export const tokenizerConfigFile = "tokenizer_config.json";
export const specialTokensFile = "special_tokens_map.json";

/** A vocabulary in two files, in place of {@link tokenizerFile}. */
export const vocabularyFile = "vocab.json";
export const mergesFile = "merges.txt";
