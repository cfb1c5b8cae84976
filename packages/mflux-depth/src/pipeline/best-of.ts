import { OptionError } from "../errors.js";
import type { PictureFidelity } from "../images/metadata.js";
import { bestOfOption, checkOption, type GenerateRequest, maxSeed, seedsFrom } from "../options/index.js";
import type { GenerationEvent } from "./events.js";
import type { FluxDepth } from "./flux-depth.js";
import { Judge, type JudgeOptions, withFidelity } from "./judge.js";
import type { GenerationResult } from "./result.js";

export interface BestOfOptions {
  /** The number of images to generate and compare, 2 to 100. */
  readonly count: number;
  /** The judging depth estimator, as in {@link score}; by default not the one that made the map. */
  readonly depthModel?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives the progress of finding the judge and reading its weights. */
  readonly onProgress?: JudgeOptions["onProgress"];
  /** Receives the events of each generation with its number, from 0. */
  readonly onEvent?: ((event: GenerationEvent, index: number) => void) | undefined;
  /**
   * Receives each image with its score in the parameters, before the next one is made; that waits for the promise. Only
   * the best image is kept, so this is the place to save the others.
   */
  readonly onScored?: ((result: GenerationResult, index: number) => void | Promise<void>) | undefined;
}

/** An image that was scored. */
export interface RankedSeed {
  readonly seed: number;
  readonly fidelity: PictureFidelity;
}

export interface BestOf {
  /** The most faithful image, with its score and rank in the parameters. */
  readonly best: GenerationResult;
  /** The seeds and scores of all images, the most faithful first. */
  readonly ranking: readonly RankedSeed[];
}

/**
 * Generates several images that differ in the seed alone, scores each by how faithfully it keeps the depth map, and keeps
 * the best so far (the lowest RMSE). The prompt and the map are encoded once, unless the memory policy is "low". Without a
 * seed, seeds are random; with one, it and those that follow it are taken.
 * @throws {OptionError} for an invalid value, or a request that brings its own noise.
 * @throws as {@link FluxDepth.generate}, and {ModelError} when the judge is not found.
 */
export async function bestOf(
  flux: FluxDepth,
  request: GenerateRequest,
  { count, depthModel, signal, onProgress, onEvent, onScored }: BestOfOptions,
): Promise<BestOf> {
  checkOption("count", bestOfOption.kind, count);
  if (request.latents)
    throw new OptionError(
      "latents",
      "With the same noise, all images would be identical; leave out latents or best-of.",
      {
        code: "option-conflict",
      },
    );
  // Before generating, because the judge may have to be downloaded, or be missing.
  using judge = await Judge.obtain(flux, request, { depthModel, signal, onProgress });
  const scored: RankedSeed[] = [];
  let best: GenerationResult | null = null;
  for (const [index, seed] of seedsOf(request, count).entries())
    for await (const event of flux.steps({ ...request, seed, signal })) {
      onEvent?.(event, index);
      if (event.type !== "result") continue;
      const fidelity = await judge.score(event.result, signal);
      const result = withFidelity(event.result, { ...fidelity, candidates: count });
      scored.push({ seed, fidelity });
      if (best === null || fidelity.rmse < best.metadata.fidelity!.rmse) best = result;
      await onScored?.(result, index);
    }
  const ranking = scored
    .toSorted((a, b) => a.fidelity.rmse - b.fidelity.rmse)
    .map(({ seed, fidelity }, i) => ({ seed, fidelity: { ...fidelity, rank: i + 1, candidates: count } }));
  return { best: withFidelity(best!, ranking[0]!.fidelity), ranking };
}

/** Consecutive seeds from a given one, otherwise different random ones. */
function seedsOf({ seed }: GenerateRequest, count: number): readonly number[] {
  if (seed) return seedsFrom(seed, count);
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(1 + Math.floor(Math.random() * maxSeed));
  return [...drawn];
}
