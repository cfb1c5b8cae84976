import { cpSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { type MxArray, random, reshape, scope, transpose } from "@mflux-depth/mlx";
import { ModelError } from "../../src/errors.js";
import type { ControlLora, Denoising, Family, ModelConfigs, SingleFile } from "../../src/families/family.js";
import { flux1Depth } from "../../src/families/flux1-depth/index.js";
import type { FluxConfigs } from "../../src/families/flux1-depth/networks.js";
import { families } from "../../src/families/registry.js";
import { isFolder } from "../../src/files/folders.js";
import type { FluxTransformer } from "../../src/models/flux-transformer.js";
import { type LatentGrid, type LatentPacking, patchPacking, patchSize } from "../../src/sampling/latents.js";
import type { Checkpoint } from "../../src/weights/format.js";
import { translated } from "../../src/weights/translated.js";
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

/** The prefix of names in files that are made for this family. */
export const own = "rearranged";

/** Without the members that are optional. */
export const rearranged: Family = {
  id: "rearranged",
  name: "Rearranged",
  kind: flux1Depth.kind,
  // Tests that need them write them with the model.
  publishedConfigs: "",
  components: {
    words: components.text_encoder,
    sentences: components.text_encoder_2,
    denoiser: components.transformer,
    pixels: components.vae,
  } as Family["components"],
  checkConfigs() {},
  isCandidate: (folder) => isFolder(join(folder, "denoiser")),
  refusal: (folder, configs = folder) =>
    isFolder(join(configs, "denoiser")) ? null : new ModelError(folder, "this is not a Rearranged model"),
  adapterNames(configs) {
    const { find, otherModel } = flux1Depth.adapterNames(fluxConfigs(configs));
    return {
      find(name) {
        const target = name.startsWith(`${own}.`) ? find(name.slice(own.length + 1)) : undefined;
        return target && { ...target, component: "denoiser" };
      },
      replacement: () => undefined,
      otherModel,
    };
  },
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

const unprefixed = (checkpoint: Checkpoint): Checkpoint =>
  translated(checkpoint, (name) => {
    const rows = checkpoint.entries.get(name)!.shape[0] ?? 1;
    return { parts: [{ name: name.slice(own.length + 1), rows }] };
  });

const singleFile: SingleFile = {
  configOf(checkpoint, other, isBase) {
    if (![...checkpoint.entries.keys()].every((name) => name.startsWith(`${own}.`)))
      throw new ModelError(checkpoint.source, "this is not the denoiser of a Rearranged model");
    return flux1Depth.singleFile!.configOf(unprefixed(checkpoint), other, isBase);
  },
  translate: unprefixed,
  describe: ({ num_layers: layers }) => [["layers", `${layers}`]],
};

const controlLora: ControlLora = {
  ...flux1Depth.controlLora!,
  matches: ({ metadata }) => metadata.get("control") === own,
  writtenBy: "Rearranged Labs",
  baseRefusal: (folder) => rearranged.refusal(folder),
};

/** The same family with the members that are optional. */
export const complete = (publishedConfigs: string): Family => ({
  ...rearranged,
  publishedConfigs,
  baseKind: { ...rearranged.kind, name: "Rearranged Base" },
  singleFile,
  controlLora,
  configsFromShapes: () => ({ denoiser: { in_channels: 128 } }),
});

/** Changes the list of families, which is otherwise constant, for the tests of a suite. */
export function listFamilies(change: (known: readonly Family[]) => readonly Family[]): void {
  const list = families as Family[];
  const known = [...list];
  before(() => list.splice(0, list.length, ...change(known)));
  after(() => list.splice(0, list.length, ...known));
}

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
