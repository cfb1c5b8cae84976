import { ModelError } from "../errors.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { EstimatorEntry } from "./estimator.js";

/*
 * The depth models that this library knows. An entry's code is imported when it is opened, so that a process that only
 * downloads models needs no MLX.
 */

const depthPro: EstimatorEntry = {
  modelType: "depth_pro",
  name: "Depth Pro",
  repository: defaultDepthModel,
  files: [{ name: "config.json" }, { name: "preprocessor_config.json", optional: true }],
  licence: "Apple's weights come under Apple's own licence, which the repository's page links to.",
  open: async (folder, options) => (await import("./depth-pro.js")).openDepthPro(folder, options),
};

export const estimators: readonly EstimatorEntry[] = [depthPro];

/** The one to use unless another is named. */
export const defaultEstimator: EstimatorEntry = depthPro;

/**
 * Finds the estimator for a config.
 * @param modelType the config's `model_type`.
 * @param source the config, for messages.
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
