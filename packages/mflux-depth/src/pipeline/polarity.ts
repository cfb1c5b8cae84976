import type { DepthEstimate } from "../depth/estimate.js";
import { polarityWarning } from "../depth/polarity.js";
import type { Generation } from "./stage.js";

/**
 * Warns when the given depth map looks inverted: compared with the photo's depth, or by its looks alone when there is
 * no estimate.
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
