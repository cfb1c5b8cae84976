import type { ResolvedRequest } from "../options/index.js";

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
