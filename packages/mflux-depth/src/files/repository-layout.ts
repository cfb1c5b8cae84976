/*
 * The names that diffusers and transformers give to the files of a model's repository.
 */

/** The config of one network, next to its weights. */
export const configFile = "config.json";

/** The index of a pipeline of several networks, in the repository's root. */
export const modelIndexFile = "model_index.json";

/** The folder of a pipeline's scheduler, and the config in it. */
export const schedulerFolder = "scheduler";
export const schedulerConfigFile = "scheduler_config.json";
