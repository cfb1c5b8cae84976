import type { ResolvedRequest } from "../options/index.js";
import type { Generation } from "./stage.js";

/**
 * The factor of the control latents at a step. At 0, the model sees zeros, which it treats as a map with little
 * information. The factor is 0 outside the range of steps in which the map guides.
 *
 * We also tried mixing the control latents with those of a flat map. It keeps the geometry no better, and at low
 * strengths draws the flat wall that such a map describes.
 * @param noiseLevels of the generation, one more than it has steps
 * @param sigma the noise level at which the step begins
 */
export function controlStrength(
  {
    depthStrength,
    depthStart,
    depthStop,
  }: Pick<ResolvedRequest, "depthStrength" | "depthStart" | "depthStop">,
  noiseLevels: Float32Array,
  sigma: number,
): number {
  const middle = (noiseLevels.indexOf(sigma) + 0.5) / (noiseLevels.length - 1);
  return middle > depthStart && middle < depthStop ? depthStrength : 0;
}

/** Warns if the range in which the map guides is so narrow that it includes no step. */
export function warnIfNeverGuided({
  request,
  noiseLevels,
  warnings,
}: Pick<Generation, "request" | "noiseLevels" | "warnings">): void {
  const { depthStrength, depthStart, depthStop } = request;
  const steps = noiseLevels.subarray(0, -1);
  if (depthStrength === 0 || steps.length === 0) return;
  if (steps.some((sigma) => controlStrength(request, noiseLevels, sigma) > 0)) return;
  warnings.add({
    message: `The depth map has no effect: it guides from ${depthStart} to ${depthStop} of the way, and ${steps.length === 1 ? "the only step is" : `all ${steps.length} steps are`} outside.`,
    remedies: [
      ...(depthStart > 0 ? [{ kind: "set-option", option: "depthStart", value: 0 } as const] : []),
      ...(depthStop < 1 ? [{ kind: "set-option", option: "depthStop", value: 1 } as const] : []),
    ],
  });
}
