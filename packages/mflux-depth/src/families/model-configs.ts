import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import type { ModelConfigs } from "./family.js";
import type { ModelFiles } from "./model-files.js";

/**
 * Reads the configs of a model's networks and scheduler.
 * @throws {ModelError} when one is missing, damaged, or belongs to another model than the rest.
 */
export function readModelConfigs({ family, configs: folder }: ModelFiles): ModelConfigs {
  const read = <Config>(
    name: string,
    file: string,
    readConfigOf: (json: unknown, source: string) => Config,
  ): Config => readConfigOf(readConfig(join(folder, name), file), join(folder, name, file));
  const { components, readSchedulerConfig } = family;
  const configs: ModelConfigs = {
    text_encoder: read("text_encoder", "config.json", components.text_encoder.readConfig),
    text_encoder_2: read("text_encoder_2", "config.json", components.text_encoder_2.readConfig),
    transformer: read("transformer", "config.json", components.transformer.readConfig),
    vae: read("vae", "config.json", components.vae.readConfig),
    scheduler: read("scheduler", "scheduler_config.json", readSchedulerConfig),
  };
  requireMatchingWidths(join(folder, "transformer", "config.json"), configs);
  return configs;
}

/** @throws {ModelError} when the transformer takes embeddings of another width than the text encoders make. */
function requireMatchingWidths(
  source: string,
  { transformer, text_encoder, text_encoder_2 }: ModelConfigs,
): void {
  const pairs = [
    ["joint_attention_dim", transformer.jointAttentionDim, "text_encoder_2's d_model", text_encoder_2.dModel],
    [
      "pooled_projection_dim",
      transformer.pooledProjectionDim,
      "text_encoder's hidden_size",
      text_encoder.hiddenSize,
    ],
  ] as const;
  for (const [key, width, otherKey, otherWidth] of pairs)
    if (width !== otherWidth)
      throw new ModelError(
        source,
        `${key} is ${width}, but ${otherKey} is ${otherWidth}; these components belong to different models`,
      );
}
