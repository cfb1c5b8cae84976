import { join } from "node:path";
import { ModelError } from "../../errors.js";
import { configFile } from "../../files/repository-layout.js";
import type { Autoencoder, AutoencoderConfig } from "../../models/autoencoder.js";
import type { ClipTextConfig, ClipTextEncoder } from "../../models/clip.js";
import type { FluxTransformer, FluxTransformerConfig } from "../../models/flux-transformer.js";
import type { T5Config, T5Encoder } from "../../models/t5.js";
import type { SchedulerConfig } from "../../sampling/schedule.js";
import { folders } from "./layout.js";

/** The networks of FLUX.1, by component. */
export type FluxNetworks = {
  readonly text_encoder: ClipTextEncoder;
  readonly text_encoder_2: T5Encoder;
  readonly transformer: FluxTransformer;
  readonly vae: Autoencoder;
};

/** The configs of FLUX.1: one for each network, and one for the scheduler. */
export type FluxConfigs = {
  readonly text_encoder: ClipTextConfig;
  readonly text_encoder_2: T5Config;
  readonly transformer: FluxTransformerConfig;
  readonly vae: AutoencoderConfig;
  readonly scheduler: SchedulerConfig;
};

/**
 * Checks that the text encoders' embeddings have the width that the transformer takes.
 * @throws {ModelError} if they differ.
 */
export function requireMatchingWidths(
  { transformer, text_encoder, text_encoder_2 }: FluxConfigs,
  folder: string,
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
        join(folder, folders.transformer, configFile),
        `${key} is ${width}, but ${otherKey} is ${otherWidth}; these components belong to different models`,
      );
}
