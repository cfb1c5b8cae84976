import { fileURLToPath } from "node:url";
import { concatenate } from "@mflux-depth/mlx";
import { Autoencoder, autoencoderConfig, reductionOf } from "../../models/autoencoder.js";
import { ClipTextEncoder, clipTextConfig } from "../../models/clip.js";
import { FluxTransformer, fluxTransformerConfig } from "../../models/flux-transformer.js";
import { T5Encoder, t5Config } from "../../models/t5.js";
import { patchPacking, patchSize } from "../../sampling/latents.js";
import { schedulerConfig } from "../../sampling/schedule.js";
import type { Family } from "../family.js";
import { adapterNames } from "./adapter-names.js";
import { tokenizers } from "./layout.js";
import { isCandidate, refusal } from "./recognise.js";
import { flux1DepthDescription } from "./repository.js";
import { configsFromShapes } from "./shapes.js";

/**
 * FLUX.1 Depth (Black Forest Labs): FLUX.1-dev with a transformer that also takes the latents of a depth map, joined to
 * those of the image on the channel axis.
 */
export const flux1Depth: Family = {
  ...flux1DepthDescription,
  publishedConfigs: fileURLToPath(new URL("../../../../models/flux1-depth-dev", import.meta.url)),
  components: {
    text_encoder: {
      readConfig: clipTextConfig,
      build: (config) => new ClipTextEncoder(config),
      rename: ClipTextEncoder.sanitize,
    },
    text_encoder_2: {
      readConfig: t5Config,
      build: (config) => new T5Encoder(config),
      rename: T5Encoder.sanitize,
      int8: true,
    },
    transformer: {
      readConfig: fluxTransformerConfig,
      build: (config) => new FluxTransformer(config),
      int8: true,
    },
    vae: {
      readConfig: autoencoderConfig,
      build: (config) => new Autoencoder(config),
      float32InsteadOfFloat16: true,
    },
  },
  tokenizers,
  readSchedulerConfig: schedulerConfig,
  packing: patchPacking,
  isCandidate,
  refusal,
  configsFromShapes,
  adapterNames,
  pixelsPerToken: ({ vae }) => patchSize * reductionOf(vae),
  latentGrid({ width, height }, configs) {
    const pixels = this.pixelsPerToken(configs);
    return { rows: height / pixels, columns: width / pixels, channels: configs.vae.latentChannels };
  },
  joinControl: (latents, control) => concatenate([latents, control], -1),
};
