import {
  type Autoencoder,
  type AutoencoderConfig,
  AutoencoderMemory,
  scaleLatents,
  unscaleLatents,
} from "../../models/autoencoder.js";
import type { Autoencoding } from "../family.js";
import { folders } from "./layout.js";
import type { FluxConfigs } from "./networks.js";

/** Latents by FLUX.1's autoencoder: the mode of its posterior. */
export const autoencoding: Autoencoding<FluxConfigs> = {
  component: folders.autoencoder,
  encode: (vae: Autoencoder, images, room) => vae.encodeStages(images, room),
  decode: (vae: Autoencoder, latents, room) => vae.decodeStages(latents, room),
  scale: (latents, { vae }) => scaleLatents(latents, vae),
  unscale: (latents, { vae }) => unscaleLatents(latents, vae),
  workingMemory(configs, { direction, width, height, arithmetic, room }) {
    const memory = memoryOf(configs.vae);
    return direction === "encode"
      ? memory.encodingBytes(height, width, arithmetic, room)
      : memory.decodingBytes(height, width, arithmetic, room);
  },
};

/** The memory needs of each model's autoencoder, kept for later generations. */
const memories = new WeakMap<AutoencoderConfig, AutoencoderMemory>();

function memoryOf(config: AutoencoderConfig): AutoencoderMemory {
  const memory = memories.get(config) ?? new AutoencoderMemory(config);
  memories.set(config, memory);
  return memory;
}
