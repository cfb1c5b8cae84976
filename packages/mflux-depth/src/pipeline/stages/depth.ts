import type { DepthEstimate } from "../../depth/estimate.js";
import { ImageError, ModelError } from "../../errors.js";
import { warnIfInverted } from "../polarity.js";
import { defineStage, estimatorName } from "../stage.js";

/**
 * Estimates the photo's depth. Without a given depth map, the estimate becomes the map; otherwise it serves to check
 * that the given map is not inverted.
 */
export const depth = defineStage({
  name: "depth",
  reads: [],
  makes: "estimate",
  transient: true,
  applies: ({ estimatesDepth }) => estimatesDepth,
  uses: () => [[estimatorName]],
  workingMemory: (_, { estimator }) => estimator?.workingMemory() ?? 0,
  async run(_, generation, components) {
    const { images, signal, warnings } = generation;
    using loan = await components.borrow(estimatorName);
    let estimate: DepthEstimate | null = null;
    try {
      estimate = await loan.estimator.estimate(images.photo!, { fieldOfView: false, signal });
    } catch (error) {
      const isNeeded = images.depthMap === null;
      if (isNeeded || !(error instanceof ModelError || error instanceof ImageError)) throw error;
      warnings.add(`The depth map was not compared with the photo's depth: ${error.message}`);
    }
    warnIfInverted(generation, estimate);
    return estimate;
  },
});
