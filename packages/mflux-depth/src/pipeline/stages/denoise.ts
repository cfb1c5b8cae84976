import { astype, type MxArray, memory, multiply, scope } from "@mflux-depth/mlx";
import { type Module, runStages } from "@mflux-depth/mlx/nn";
import type { Family, Velocity } from "../../families/family.js";
import { valuesOf } from "../../options/index.js";
import { type DenoisedStep, denoise as denoiseLatents } from "../../sampling/denoise.js";
import { addNoise, fromChannelsFirst } from "../../sampling/latents.js";
import { bytesPerValue } from "../../weights/component.js";
import { decodeLatents, decodingMemory, unpackedLatents } from "../autoencode.js";
import { controlStrength } from "../control-strength.js";
import type { StepEvent } from "../events.js";
import { notFinite } from "../finite.js";
import { keepOutside, latentMask } from "../masking.js";
import type { Model } from "../model/model.js";
import type { DepthMap, Picture } from "../result.js";
import { type Artifacts, defineStage, type Generation, type Workload } from "../stage.js";

/** Denoises latents, guided by the prompt and the control latents. The start is noise, or a photo under noise. */
export const denoise = defineStage({
  name: "denoise",
  reads: ["prompt", "control", "start"],
  makes: "latents",
  uses: (workload, family) => [componentsFor(workload, family)],
  workingMemory(workload, { model, room }) {
    if (workload.steps === 0) return 0;
    const stepping = steppingMemory(workload, model);
    const cached = Math.min(stepping, model.bufferCache?.stepping ?? 0);
    const preview =
      workload.previews === "exact" ? decodingMemory(workload, model, Math.max(0, room - cached)) : 0;
    return cached + Math.max(stepping, preview);
  },
  async *run(inputs, generation, components) {
    const { workload, signal, noiseLevels: levels } = generation;
    if (workload.steps === 0) return firstLatents(inputs.start, generation);
    const { family } = generation.model;
    using loan = await components.borrow(...componentsFor(workload, family));
    const transformer = loan[family.denoising.component]!;
    const autoencoder = loan[family.autoencoding.component];
    const draw = autoencoder
      ? (latents: MxArray) => decodeLatents(latents, autoencoder, "denoise", generation)
      : workload.previews && ((latents: MxArray) => drawFast(latents, generation));
    // After loading, which leaves free buffers of other sizes.
    using _cache = keepBuffers(generation.model);
    using velocity = velocityOf(transformer, inputs, generation);
    using outside = await outsideOf(inputs.start, generation);
    const steps = denoiseLatents(firstLatents(inputs.start, generation), levels, velocity.at, {
      signal,
      taken: generation.resume?.step ?? 0,
      ...(outside && { keep: outside.keep }),
    });
    try {
      for (;;) {
        const began = performance.now();
        const step = await steps.next();
        if (step.done) return step.value;
        const seconds = (performance.now() - began) / 1000;
        await requireFiniteStep(step.value, transformer, generation);
        yield await stepEvent(step.value, { seconds, depthMap: inputs.control.depthMap }, draw, generation);
      }
    } finally {
      await end(steps);
    }
  },
});

/** The components in memory while it runs: none without steps, and the autoencoder only for exact previews. */
const componentsFor = (
  { steps, previews }: Workload,
  { denoising, autoencoding }: Family,
): readonly string[] =>
  steps === 0 ? [] : [denoising.component, ...(previews === "exact" ? [autoencoding.component] : [])];

/** Ends a generator before its last step, so that it frees its arrays. */
const end = (generator: AsyncGenerator<unknown, unknown, void>): Promise<unknown> =>
  generator.return(undefined);

/** @throws {ModelError} when the latents after a step are not finite. */
async function requireFiniteStep(
  { index, total, finite }: DenoisedStep,
  network: Module,
  generation: Generation,
): Promise<void> {
  const { component } = generation.model.family.denoising;
  const values = `the latents after step ${index} of ${total}`;
  if (!finite) throw await notFinite({ stage: "denoise", values, component, network }, generation);
}

/**
 * The latents that denoising begins with, `[1, tokens, channels]` float32: those of the generation that continues, or
 * noise, or the photo with noise added up to the first noise level.
 */
function firstLatents(
  photo: MxArray | null,
  { request, grid, model, noiseLevels: [sigma = 1], resume }: Generation,
): MxArray {
  const { packing } = model.family;
  return scope(() => {
    if (resume) return packing.pack(fromChannelsFirst(resume.latents.data, grid), grid);
    const noise = noiseOf({ request, grid, model });
    return photo ? addNoise(photo, noise, sigma) : noise;
  });
}

/** The packed noise of a generation, `[1, tokens, channels]` float32: given, or drawn from the seed. */
const noiseOf = ({ request, grid, model }: Pick<Generation, "request" | "grid" | "model">): MxArray => {
  const { packing } = model.family;
  return request.latents
    ? packing.pack(fromChannelsFirst(valuesOf(request.latents), grid), grid)
    : packing.noise(request.seed, grid);
};

/** Keeps the photo outside the mask after each step; null without a mask. Disposing it frees its preparations. */
async function outsideOf(
  photo: MxArray | null,
  generation: Generation,
): Promise<({ keep: (latents: MxArray, sigma: number) => MxArray } & Disposable) | null> {
  if (!photo || !generation.images.mask) return null;
  const mask = await latentMask(generation);
  const noise = scope(() => noiseOf(generation));
  return {
    keep: (latents, sigma) => keepOutside(latents, sigma, { mask, photo, noise }),
    [Symbol.dispose]() {
      mask.dispose();
      noise.dispose();
    },
  };
}

/** The transformer as a function of latents and noise level. Disposing it frees its preparations. */
function velocityOf(
  transformer: Module,
  { prompt, control }: Pick<Artifacts, "prompt" | "control">,
  generation: Generation,
): { at: (latents: MxArray, sigma: number) => Promise<MxArray> } & Disposable {
  const { request, grid, model, noiseLevels, signal } = generation;
  const { family, configs } = model;
  const prepared: Disposable[] = [];
  const atStrength = new Map<number, Velocity>();
  /** The velocity for control latents of a given strength. A generation needs at most two. */
  const velocityWith = (strength: number): Velocity => {
    const known = atStrength.get(strength);
    if (known) return known;
    const scaled = strength === 1 ? control.latents : multiply(control.latents, strength);
    if (scaled !== control.latents) prepared.push(scaled);
    // The text stage is skipped only if there are no steps.
    const inputs = { configs, grid, prompt: prompt!, control: scaled, guidance: request.guidance };
    const made = family.denoising.velocity(transformer, inputs);
    prepared.push(made);
    atStrength.set(strength, made);
    return made;
  };
  return {
    async at(latents, sigma) {
      const velocity = velocityWith(controlStrength(request, noiseLevels, sigma));
      using predicted = await runStages(velocity.stages(latents, sigma), { signal });
      return astype(predicted, "float32");
    },
    [Symbol.dispose]() {
      for (const one of prepared.reverse()) one[Symbol.dispose]();
    },
  };
}

/** The event of a step, with the preview and the latents that the generation asks for. */
async function stepEvent(
  step: DenoisedStep,
  { seconds, depthMap }: { readonly seconds: number; readonly depthMap: DepthMap },
  draw: ((latents: MxArray) => Promise<Picture>) | null,
  generation: Generation,
): Promise<StepEvent> {
  const { index, total, sigma, latents } = step;
  const { previewEvery, withLatents } = generation;
  const event = { type: "step", index, total, sigma, seconds } as const;
  const unpacked = withLatents ? { latents: await unpackedLatents(latents, generation), depthMap } : {};
  // A preview of the last step would be the image itself.
  if (!draw || index % previewEvery !== 0 || index === total) return { ...event, ...unpacked };
  using clean = step.predictClean();
  return { ...event, preview: await draw(clean), ...unpacked };
}

/** Draws a fast preview of packed latents. */
async function drawFast(
  packed: MxArray,
  { fastPreviews, model, grid, signal }: Generation,
): Promise<Picture> {
  using latents = model.family.packing.unpack(packed, grid);
  return await fastPreviews.draw(latents, signal);
}

/** Makes MLX keep the buffers of one block for the next. */
const keepBuffers = ({ bufferCache }: Model): Disposable | null =>
  bufferCache && memory.keepBuffers(bufferCache.stepping);

/** Estimates the bytes of one step's activations. */
function steppingMemory(workload: Workload, { configs, family, precision }: Model): number {
  const size = { grid: family.latentGrid(workload, configs), textTokens: workload.textTokens };
  return family.denoising.workingMemory(configs, size, bytesPerValue(precision.dtype));
}
