import { OptionError } from "../errors.js";
import type { PictureFidelity } from "../images/metadata.js";
import { bestOfKind, checkOption, type GenerateRequest, maxSeed, seedsFrom } from "../options/index.js";
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
}

/**
 * Generates several images that differ in the seed alone, and ranks them by how faithfully they keep the depth map (the
 * lowest RMSE). The prompt and the map are encoded once, unless the memory policy is "low". Without a seed, seeds are
 * random; with one, it and those that follow it are taken.
 * @returns all images, the most faithful first, with their scores in the parameters (`fidelity`)
 * @throws {OptionError} for an invalid value, or a request that brings its own noise.
 * @throws as {@link FluxDepth.generate}, and {ModelError} when the judge is not found.
 */
export async function bestOf(
  flux: FluxDepth,
  request: GenerateRequest,
  { count, depthModel, signal, onProgress, onEvent }: BestOfOptions,
): Promise<GenerationResult[]> {
  checkOption("count", bestOfKind, count);
  if (request.latents)
    throw new OptionError("latents", "Images with the same noise are equal; leave out latents or best-of.", {
      code: "option-conflict",
    });
  // Before generating, because the judge may have to be downloaded, or be missing.
  using judge = await Judge.obtain(flux, request, { depthModel, signal, onProgress });
  const results: GenerationResult[] = [];
  for (const [index, seed] of seedsOf(request, count).entries())
    for await (const event of flux.steps({ ...request, seed, signal })) {
      onEvent?.(event, index);
      if (event.type === "result") results.push(event.result);
    }
  return ranked(results, judge, signal);
}

/** Consecutive seeds from a given one, otherwise different random ones. */
function seedsOf({ seed }: GenerateRequest, count: number): readonly number[] {
  if (seed) return seedsFrom(seed, count);
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(1 + Math.floor(Math.random() * maxSeed));
  return [...drawn];
}

/** Scores images against the map that they were made from, and sorts them. */
async function ranked(
  results: readonly GenerationResult[],
  judge: Judge,
  signal: AbortSignal | undefined,
): Promise<GenerationResult[]> {
  const scored: { readonly result: GenerationResult; readonly fidelity: PictureFidelity }[] = [];
  for (const result of results) scored.push({ result, fidelity: await judge.score(result, signal) });
  return scored
    .toSorted((a, b) => a.fidelity.rmse - b.fidelity.rmse)
    .map(({ result, fidelity }, i) =>
      withFidelity(result, { ...fidelity, rank: i + 1, candidates: results.length }),
    );
}
