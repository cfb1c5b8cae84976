/*
 * The depth estimators that this library knows, as data. Without MLX, so that a process that only downloads models stays
 * small; registry.ts says how to open each.
 */

/** A type of depth estimator. */
export interface EstimatorDescription<Type extends string = string> {
  /** The `model_type` of its config, and its folder inside another model's repository. */
  readonly modelType: Type;
  /** The model's name: "Depth Pro". */
  readonly name: string;
  /** Files that it needs in addition to the config and the weights. */
  readonly files: readonly { readonly name: string; readonly optional?: boolean }[];
}

export const depthPro = {
  modelType: "depth_pro",
  name: "Depth Pro",
  files: [{ name: "preprocessor_config.json", optional: true }],
} as const satisfies EstimatorDescription;

export const depthAnything = {
  modelType: "depth_anything",
  name: "Depth Anything",
  files: [{ name: "preprocessor_config.json", optional: true }],
} as const satisfies EstimatorDescription;

/** Every depth estimator that this library knows. */
export const estimatorDescriptions = [
  depthPro,
  depthAnything,
] as const satisfies readonly EstimatorDescription[];

export type EstimatorType = (typeof estimatorDescriptions)[number]["modelType"];

/** Their names, for messages. */
export const knownEstimators = estimatorDescriptions.map(({ name }) => name).join(", ");
