import type { DepthEstimate } from "../depth/estimate.js";
import { polarityWarning } from "../depth/polarity.js";
import type { Generation } from "./stage.js";

/**
 * Warns if the given depth map looks inverted.
 * @param estimate the photo's depth to compare with; null to judge the map by itself.
 */
export function warnIfInverted(
  { images: { depthMap }, request, warnings }: Pick<Generation, "images" | "request" | "warnings">,
  estimate: DepthEstimate | null,
): void {
  if (!depthMap || request.trustDepth) return;
  const warning = polarityWarning(depthMap, depthMap.source, {
    inferred: estimate?.inverseDepth,
    exchanged: request.invertDepth,
  });
  if (warning) warnings.add(warning);
}
