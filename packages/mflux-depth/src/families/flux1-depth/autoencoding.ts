import { Autoencoder, scaleLatents, unscaleLatents } from "../../models/autoencoder.js";
import type { Autoencoding } from "../family.js";
import type { FluxConfigs } from "./networks.js";

/** Latents by FLUX.1's autoencoder: the mode of its posterior. */
export const autoencoding: Autoencoding<FluxConfigs> = {
  component: "vae",
  encode: (vae: Autoencoder, images, room) => vae.encodeStages(images, room),
  decode: (vae: Autoencoder, latents, room) => vae.decodeStages(latents, room),
  scale: (latents, { vae }) => scaleLatents(latents, vae),
  unscale: (latents, { vae }) => unscaleLatents(latents, vae),
  workingMemory(configs, { direction, width, height, arithmetic, room }) {
    using vae = new Autoencoder(configs.vae);
    return direction === "encode"
      ? vae.encodingBytes(height, width, arithmetic, room)
      : vae.decodingBytes(height, width, arithmetic, room);
  },
};
