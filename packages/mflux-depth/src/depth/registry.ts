import { ModelError } from "../errors.js";
import { openDepthPro } from "./depth-pro.js";
import { type EstimatorType, estimatorDescriptions } from "./descriptions.js";
import type { OpenEstimator } from "./estimator.js";

/** How to open each kind of depth model. */
const openers: Readonly<Record<EstimatorType, OpenEstimator>> = {
  depth_pro: openDepthPro,
};

/**
 * Finds the function that opens a depth model.
 * @param modelType the `model_type` of its config
 * @param source the config, for messages
 * @throws {ModelError} when it is not a depth model that this library knows.
 */
export function openerOf(modelType: unknown, source: string): OpenEstimator {
  const found = estimatorDescriptions.find((description) => description.modelType === modelType);
  if (found) return openers[found.modelType];
  const known = estimatorDescriptions.map(({ modelType: type, name }) => `"${type}" (${name})`).join(", ");
  throw new ModelError(
    source,
    modelType === undefined
      ? `this is the config of another kind of model, without a model_type; known depth models: ${known}`
      : `"model_type" is ${JSON.stringify(modelType)}; known depth models: ${known}`,
  );
}
