import { concatenate } from "@mflux-depth/mlx";
import { rotaryTables } from "../../models/flux-conditioning.js";
import { type FluxTransformer, transformerWorkingBytes } from "../../models/flux-transformer.js";
import { modelTime } from "../../sampling/schedule.js";
import type { Denoising } from "../family.js";
import { folders } from "./layout.js";
import type { FluxConfigs } from "./networks.js";

/** Denoising with a transformer that takes latents and control latents, joined on the channel axis. */
export const denoising: Denoising<FluxConfigs> = {
  component: folders.transformer,
  velocity(transformer: FluxTransformer, { configs, grid, prompt, control, guidance }) {
    const { text_encoder: pooled, text_encoder_2: embeddings } = prompt.embeddings;
    const rotary = rotaryTables(configs.transformer, { ...grid, textTokens: prompt.tokens });
    return {
      *stages(latents, sigma) {
        using hiddenStates = concatenate([latents, control], -1);
        return yield* transformer.stages({
          hiddenStates,
          encoderHiddenStates: embeddings!,
          pooledProjections: pooled!,
          timestep: modelTime(sigma, configs.scheduler),
          guidance,
          rotary,
        });
      },
      [Symbol.dispose]() {
        rotary.cos.dispose();
        rotary.sin.dispose();
      },
    };
  },
  workingMemory: ({ transformer }, { grid, textTokens }, bytesPerValue) =>
    transformerWorkingBytes(transformer, grid.rows * grid.columns + textTokens, bytesPerValue),
};
