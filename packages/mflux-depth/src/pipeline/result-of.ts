import { parametersOf } from "./parameters.js";
import { GenerationResult } from "./result.js";
import type { FinishedGeneration } from "./runner.js";
import type { Generation } from "./stage.js";

/**
 * Makes the result of a generation.
 * @param names of the model and the depth estimator, for the parameters.
 */
export function resultOf(
  generation: Generation,
  finished: FinishedGeneration,
  names: Parameters<typeof parametersOf>[2],
): GenerationResult {
  const { decoded, depthMap, timings } = finished;
  return new GenerationResult({
    image: decoded.image,
    latents: decoded.latents,
    depthMap,
    metadata: parametersOf(generation, finished, names),
    timings,
    warnings: generation.warnings.messages,
  });
}
