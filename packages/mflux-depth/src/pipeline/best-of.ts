import type { DepthEstimator } from "../depth/estimator.js";
import { compareDepth, type FidelityScores } from "../depth/fidelity.js";
import { obtainEstimator } from "../depth/open.js";
import { judgeFor } from "../depth/score.js";
import { OptionError } from "../errors.js";
import { readPhoto } from "../images/decode.js";
import type { PictureFidelity } from "../images/metadata.js";
import { bestOfKind, checkOption, type GenerateRequest, maxSeed } from "../options/index.js";
import type { GenerationEvent } from "./events.js";
import type { FluxDepth } from "./flux-depth.js";
import { GenerationResult } from "./result.js";

export interface BestOfOptions {
  /** How many images to generate and compare, 2 to 100. */
  readonly count: number;
  /** The depth estimator that judges, as in {@link score}; by default one that the map did not come from. */
  readonly depthModel?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives the events of each generation, and which it is, from 0. */
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
  { count, depthModel, signal, onEvent }: BestOfOptions,
): Promise<GenerationResult[]> {
  checkOption("count", bestOfKind, count);
  if (request.latents)
    throw new OptionError("latents", "Images with the same noise are equal; leave out latents or best-of.", {
      code: "option-conflict",
    });
  const judge = depthModel ?? judgeOf(flux, request);
  // Before the images are made: it may have to be downloaded, or be missing.
  using estimator = await obtainEstimator({ depthModel: judge, offline: flux.options.offline, signal });
  const results: GenerationResult[] = [];
  for (const [index, seed] of seedsFrom(request.seed ?? 0, count).entries())
    for await (const event of flux.steps({ ...request, seed, signal })) {
      onEvent?.(event, index);
      if (event.type === "result") results.push(event.result);
    }
  return ranked(results, estimator, judge, signal);
}

const judgeOf = ({ model, options }: FluxDepth, { depthImage }: GenerateRequest): string =>
  judgeFor({ model: model.name, depth_model: depthImage ? null : options.depthModel });

/** Different seeds: consecutive ones from a given one, otherwise random ones. Never 0, which stands for a random seed. */
function seedsFrom(first: number, count: number): number[] {
  if (first !== 0) return Array.from({ length: count }, (_, i) => 1 + ((first - 1 + i) % maxSeed));
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(1 + Math.floor(Math.random() * maxSeed));
  return [...drawn];
}

/** Scores images against the map that they were made from, and sorts them. */
async function ranked(
  results: readonly GenerationResult[],
  estimator: DepthEstimator,
  judge: string,
  signal: AbortSignal | undefined,
): Promise<GenerationResult[]> {
  const scored: { readonly result: GenerationResult; readonly scores: FidelityScores }[] = [];
  for (const result of results) {
    const image = await readPhoto({ ...result.image, channels: 3 }, { signal });
    const { inverseDepth } = await estimator.estimate(image, { fieldOfView: false, signal });
    const map = { ...result.depthMap, channels: 1 };
    scored.push({ result, scores: compareDepth(map, inverseDepth, image) });
  }
  return scored
    .toSorted((a, b) => a.scores.rmse - b.scores.rmse)
    .map(({ result, scores }, i) => {
      const place = { depth_model: judge, rank: i + 1, candidates: results.length };
      return new GenerationResult({
        ...result,
        metadata: { ...result.metadata, fidelity: { ...inParameters(scores), ...place } },
      });
    });
}

const inParameters = ({
  rmse,
  correlation,
  absRel,
  edgeF1,
}: FidelityScores): Omit<PictureFidelity, "depth_model" | "rank" | "candidates"> => ({
  rmse,
  correlation,
  abs_rel: absRel,
  edge_f1: edgeF1,
});
