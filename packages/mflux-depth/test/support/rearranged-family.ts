import { cpSync } from "node:fs";
import { join } from "node:path";
import { type MxArray, random, reshape, scope, transpose } from "@mflux-depth/mlx";
import type { Denoising, Family, ModelConfigs } from "../../src/families/family.js";
import { flux1Depth } from "../../src/families/flux1-depth/index.js";
import type { FluxConfigs } from "../../src/families/flux1-depth/networks.js";
import type { FluxTransformer } from "../../src/models/flux-transformer.js";
import { type LatentGrid, type LatentPacking, patchPacking, patchSize } from "../../src/sampling/latents.js";
import { bundled } from "./tiny-world.js";

/*
 * A family that computes the same numbers as FLUX.1 Depth but differs in everything else: its components have other
 * names, its tokens hold their latents in another order, its prompt embeddings and control latents reach the
 * transformer in another way, and it has a schedule and defaults of its own. Its images equal those of FLUX.1 Depth if
 * and only if the pipeline leaves all of this to the family.
 */

/** The family's names for the components of FLUX.1 Depth. */
export const renamed = {
  words: "text_encoder",
  sentences: "text_encoder_2",
  denoiser: "transformer",
  pixels: "vae",
} as const;

/** Writes the bundled model into `folder` under the names of this family. */
export function writeRearranged(folder: string): void {
  for (const [name, original] of Object.entries(renamed))
    cpSync(join(bundled, original), join(folder, name), { recursive: true });
  for (const name of ["tokenizer", "tokenizer_2", "scheduler"])
    cpSync(join(bundled, name), join(folder, name), { recursive: true });
}

/** The configs under FLUX.1's names. */
const fluxConfigs = (configs: ModelConfigs): FluxConfigs =>
  Object.fromEntries([
    ...Object.entries(renamed).map(([name, original]) => [original, configs[name]]),
    ["scheduler", configs.scheduler],
  ]) as FluxConfigs;

/** Tokens whose latents are in the order of the patch, then of the channels; FLUX.1 has the channels first. */
const regroup = (tokens: MxArray, from: readonly [number, number]): MxArray =>
  scope(() => {
    const [batch, count, channels] = tokens.shape as [number, number, number];
    return reshape(transpose(reshape(tokens, [batch, count, ...from]), [0, 1, 3, 2]), [
      batch,
      count,
      channels,
    ]);
  });

const patch = patchSize ** 2;
const toOwn = (tokens: MxArray, { channels }: LatentGrid): MxArray => regroup(tokens, [channels, patch]);
const toFlux = (tokens: MxArray, { channels }: LatentGrid): MxArray => regroup(tokens, [patch, channels]);

const packing: LatentPacking = {
  pack: (latents, grid) => scope(() => toOwn(patchPacking.pack(latents, grid), grid)),
  unpack: (packed, grid) => scope(() => patchPacking.unpack(toFlux(packed, grid), grid)),
  noise: (seed, grid) => scope(() => toOwn(patchPacking.noise(seed, grid), grid)),
};

const denoising: Denoising = {
  component: "denoiser",
  velocity(transformer: FluxTransformer, { configs, grid, prompt, control, guidance }) {
    const fluxControl = toFlux(control, grid);
    const { words, sentences } = prompt.embeddings;
    const velocity = flux1Depth.denoising.velocity(transformer, {
      configs: fluxConfigs(configs),
      grid,
      prompt: { ...prompt, embeddings: { text_encoder: words!, text_encoder_2: sentences! } },
      control: fluxControl,
      guidance,
    });
    return {
      *stages(latents, sigma) {
        using fluxLatents = toFlux(latents, grid);
        using predicted = yield* velocity.stages(fluxLatents, sigma);
        return toOwn(predicted, grid);
      },
      [Symbol.dispose]() {
        velocity[Symbol.dispose]();
        fluxControl.dispose();
      },
    };
  },
  workingMemory: (configs, size, bytes) =>
    flux1Depth.denoising.workingMemory(fluxConfigs(configs), size, bytes),
};

const { autoencoding, components, schedule, text } = flux1Depth;

export const rearranged: Family = {
  ...flux1Depth,
  id: "rearranged",
  name: "Rearranged",
  components: {
    words: components.text_encoder,
    sentences: components.text_encoder_2,
    denoiser: components.transformer,
    pixels: components.vae,
  } as Family["components"],
  checkConfigs() {},
  text: text.map((encoding, i) => ({
    ...encoding,
    component: i === 0 ? "words" : "sentences",
    openTokenizer: (folder, configs) => encoding.openTokenizer(folder, fluxConfigs(configs)),
    workingMemory: (configs, tokens, bytes) =>
      encoding.workingMemory?.(fluxConfigs(configs), tokens, bytes) ?? 0,
  })),
  denoising,
  autoencoding: {
    component: "pixels",
    encode: autoencoding.encode,
    decode: autoencoding.decode,
    scale: (latents, configs) => autoencoding.scale(latents, fluxConfigs(configs)),
    unscale: (latents, configs) => autoencoding.unscale(latents, fluxConfigs(configs)),
    workingMemory: (configs, work) => autoencoding.workingMemory(fluxConfigs(configs), work),
  },
  schedule: {
    readConfig: schedule.readConfig,
    sigmas: (steps, imageTokens, configs) => schedule.sigmas(steps, imageTokens, fluxConfigs(configs)),
  },
  packing,
  defaults: { steps: 3, guidance: 4, width: 64, height: 96 },
  latentGrid: (size, configs) => flux1Depth.latentGrid(size, fluxConfigs(configs)),
  pixelsPerToken: (configs) => flux1Depth.pixelsPerToken(fluxConfigs(configs)),
};

/** The same family with noise levels that fall evenly, and with noise that is drawn in its own order of latents. */
export const evenlySpaced: Family = {
  ...rearranged,
  schedule: {
    ...rearranged.schedule,
    sigmas: (steps) => Float32Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps),
  },
  packing: {
    ...packing,
    noise: (seed, { rows, columns, channels }) =>
      random.normal([1, rows * columns, patch * channels], { key: random.key(seed) }),
  },
};
