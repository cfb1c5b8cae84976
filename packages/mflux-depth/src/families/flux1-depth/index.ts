import { fileURLToPath } from "node:url";
import { Autoencoder, autoencoderConfig, reductionOf } from "../../models/autoencoder.js";
import { ClipTextEncoder, clipTextConfig } from "../../models/clip.js";
import { FluxTransformer, fluxTransformerConfig } from "../../models/flux-transformer.js";
import { T5Encoder, t5Config } from "../../models/t5.js";
import { patchPacking, patchSize } from "../../sampling/latents.js";
import { schedulerConfig, sigmas } from "../../sampling/schedule.js";
import type { Family } from "../family.js";
import { adapterNames } from "./adapter-names.js";
import { autoencoding } from "./autoencoding.js";
import { controlLora } from "./control-lora.js";
import { denoising } from "./denoising.js";
import { openClipFile, openT5File } from "./encoder-files.js";
import { folders } from "./layout.js";
import { autoencoderNames, clipNames, t5Names, transformerNames } from "./mflux-names.js";
import { type FluxConfigs, type FluxNetworks, requireMatchingWidths } from "./networks.js";
import { isCandidate, refusal } from "./recognise.js";
import { flux1DepthDescription } from "./repository.js";
import { configsFromShapes } from "./shapes.js";
import { singleFile } from "./single-file.js";
import { clipEncoding, t5Encoding } from "./text.js";
import { openVaeFile } from "./vae-file.js";

/**
 * FLUX.1 Depth (Black Forest Labs): FLUX.1-dev with a transformer that also takes the latents of a depth map, joined to
 * those of the image on the channel axis.
 */
export const flux1Depth: Family<FluxNetworks, FluxConfigs> = {
  ...flux1DepthDescription,
  publishedConfigs: fileURLToPath(new URL("../../../../models/flux1-depth-dev", import.meta.url)),
  components: {
    [folders.clip]: {
      readConfig: clipTextConfig,
      build: (config) => new ClipTextEncoder(config),
      rename: ClipTextEncoder.sanitize,
      openFile: openClipFile,
      savedNames: clipNames,
    },
    [folders.t5]: {
      readConfig: t5Config,
      build: (config) => new T5Encoder(config),
      rename: T5Encoder.sanitize,
      openFile: openT5File,
      savedNames: t5Names,
      int8: true,
    },
    [folders.transformer]: {
      readConfig: fluxTransformerConfig,
      build: (config) => new FluxTransformer(config),
      savedNames: transformerNames,
      int8: true,
    },
    [folders.autoencoder]: {
      readConfig: autoencoderConfig,
      build: (config) => new Autoencoder(config),
      openFile: openVaeFile,
      savedNames: autoencoderNames,
      float32InsteadOfFloat16: true,
    },
  },
  checkConfigs: requireMatchingWidths,
  text: [clipEncoding, t5Encoding],
  denoising,
  autoencoding,
  schedule: {
    readConfig: schedulerConfig,
    sigmas: (steps, imageTokens, { scheduler }) => sigmas(steps, imageTokens, scheduler),
  },
  singleFile,
  controlLora,
  packing: patchPacking,
  // The table of options shows the defaults of this family.
  defaults: {},
  isCandidate,
  refusal,
  configsFromShapes,
  adapterNames,
  pixelsPerToken: ({ vae }) => patchSize * reductionOf(vae),
  latentGrid({ width, height }, configs) {
    const pixels = this.pixelsPerToken(configs);
    return { rows: height / pixels, columns: width / pixels, channels: configs.vae.latentChannels };
  },
};
