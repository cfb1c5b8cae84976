import { ModelError } from "../errors.js";
import { type EstimatorType, estimatorDescriptions } from "./descriptions.js";
import type { OpenEstimator } from "./estimator.js";

/** How to open each type of depth estimator; its network is loaded with the first of its type. */
const openers: Readonly<Record<EstimatorType, () => Promise<OpenEstimator>>> = {
  depth_pro: async () => (await import("./depth-pro.js")).openDepthPro,
  depth_anything: async () => (await import("./depth-anything.js")).openDepthAnything,
};

/**
 * Finds the function that opens a depth estimator.
 * @param modelType the `model_type` of its config
 * @param source the config, for messages
 * @throws {ModelError} when this library does not know the type.
 */
export async function openerOf(modelType: unknown, source: string): Promise<OpenEstimator> {
  const found = estimatorDescriptions.find((description) => description.modelType === modelType);
  if (found) return openers[found.modelType]();
  const known = estimatorDescriptions.map(({ modelType: type, name }) => `"${type}" (${name})`).join(", ");
  throw new ModelError(
    source,
    modelType === undefined
      ? `the config has no model_type, so it belongs to another kind of model; known depth estimators: ${known}`
      : `"model_type" is ${JSON.stringify(modelType)}; known depth estimators: ${known}`,
  );
}
