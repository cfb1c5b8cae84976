/*
 * The depth models that this library knows, as data. Without MLX, so that a process that only downloads models stays
 * small; registry.ts says how to open each.
 */
import { defaultDepthModel } from "../options/defaults.js";

/** A kind of depth model. */
export interface EstimatorDescription<Type extends string = string> {
  /** The `model_type` of its config, and the folder in which a repository of another model keeps it. */
  readonly modelType: Type;
  /** What people call the model: "Depth Pro". */
  readonly name: string;
  /** A Hub repository that has it. */
  readonly repository: string;
  /** Files that it needs in addition to the config and the weights. */
  readonly files: readonly { readonly name: string; readonly optional?: boolean }[];
  /** The licence of the weights, in one sentence. */
  readonly licence: string;
}

export const depthPro = {
  modelType: "depth_pro",
  name: "Depth Pro",
  repository: defaultDepthModel,
  files: [{ name: "preprocessor_config.json", optional: true }],
  licence: "Apple's licence for these weights is in the repository.",
} as const satisfies EstimatorDescription;

/** Every depth model that this library knows. */
export const estimatorDescriptions = [depthPro] as const satisfies readonly EstimatorDescription[];

export type EstimatorType = (typeof estimatorDescriptions)[number]["modelType"];

/** Their names, for messages. */
export const knownEstimators = estimatorDescriptions.map(({ name }) => name).join(", ");
