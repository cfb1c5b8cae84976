import { ModelError } from "../errors.js";
import { depthProEntry } from "./depth-pro.js";
import type { EstimatorEntry } from "./estimator.js";

/** The depth models that this library knows. */
export const estimators: readonly EstimatorEntry[] = [depthProEntry];

/** The one to use unless another is named. */
export const defaultEstimator: EstimatorEntry = depthProEntry;

/**
 * Finds the estimator for a config.
 * @param modelType the config's `model_type`
 * @param source the config, for messages
 * @throws {ModelError} when it is not a depth model that this library knows.
 */
export function estimatorOf(modelType: unknown, source: string): EstimatorEntry {
  const found = estimators.find((entry) => entry.modelType === modelType);
  if (found) return found;
  const known = estimators.map((entry) => `"${entry.modelType}" (${entry.name})`).join(", ");
  throw new ModelError(
    source,
    modelType === undefined
      ? `this is the config of another kind of model, without a model_type; known depth models: ${known}`
      : `"model_type" is ${JSON.stringify(modelType)}; known depth models: ${known}`,
  );
}
