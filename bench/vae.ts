import { setImmediate } from "node:timers/promises";
import { memory, random } from "@mflux-depth/mlx";
import { randomize, runStages } from "@mflux-depth/mlx/nn";
import { Autoencoder, autoencoderConfig } from "mflux-depth/models/autoencoder";
import { fluxConfig } from "./flux.js";
import { inTurn, peakMlxMB, type Row, ratio, round, timed } from "./measure.js";
import type { Peer } from "./peer.js";

/** Latents to an image of 512×512 at the sizes of FLUX.1's autoencoder, with random float32 weights. */
export async function benchDecode(peer: Peer | null): Promise<Row[]> {
  const size = 512;
  const config = fluxConfig("vae");
  using model = new Autoencoder(autoencoderConfig(config, "config.json"));
  randomize(model, random.key(0), 0.02);
  using latents = random.normal([1, size / 8, size / 8, model.config.latentChannels]);
  await setImmediate();
  memory.clearCache();
  const weights = memory.activeMemory();
  memory.resetPeakMemory();
  await using work = await peer?.make("decode", { config, size });
  const times = await inTurn(2, {
    ours: timed(async () => {
      const image = await runStages(model.decodeStages(latents));
      image.dispose();
    }),
    ...(work && { "diffusers, float32": work.run }),
  });
  const name = `decode ${size}×${size}`;
  return [
    {
      name,
      s: round(times.ours!),
      "× diffusers": ratio(times["diffusers, float32"], times.ours),
      "weights MB": round(weights / 1e6),
      "MLX peak MB": round(peakMlxMB()),
    },
    ...(work ? [{ name: `${name}, diffusers float32`, s: round(times["diffusers, float32"]!) }] : []),
  ];
}
