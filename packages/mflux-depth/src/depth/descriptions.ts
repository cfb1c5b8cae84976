/*
 * The depth estimators that this library knows, as data. Without MLX, so that a process that only downloads models stays
 * small; registry.ts says how to open each.
 */

/** A model of a depth estimator on the Hub. */
export interface PublishedEstimator {
  /** "apple/DepthPro-hf" */
  readonly repository: string;
  /** In a few words: "Apache-2.0". Its text is in the repository. */
  readonly licence: string;
  /** Weights that a depth map needs. In memory, each takes four bytes. */
  readonly parameters: number;
  /** Seconds that an estimate took on two CPU cores, weights in memory; null if it has not been measured. */
  readonly cpuSeconds: number | null;
}

/** A type of depth estimator. */
export interface EstimatorDescription<Type extends string = string> {
  /** The `model_type` of its config, and its folder inside another model's repository. */
  readonly modelType: Type;
  /** The model's name: "Depth Pro". */
  readonly name: string;
  /** Published models, the most permissive licence first. */
  readonly models: readonly PublishedEstimator[];
  /** Files that it needs in addition to the config and the weights. */
  readonly files: readonly { readonly name: string; readonly optional?: boolean }[];
}

export const depthPro = {
  modelType: "depth_pro",
  name: "Depth Pro",
  models: [
    {
      repository: "apple/DepthPro-hf",
      licence: "Apple's, for research only",
      parameters: 647e6,
      cpuSeconds: 186,
    },
  ],
  files: [{ name: "preprocessor_config.json", optional: true }],
} as const satisfies EstimatorDescription;

export const depthAnything = {
  modelType: "depth_anything",
  name: "Depth Anything",
  models: [
    {
      repository: "depth-anything/Depth-Anything-V2-Small-hf",
      licence: "Apache-2.0",
      parameters: 24.7e6,
      cpuSeconds: 1.1,
    },
    {
      repository: "depth-anything/Depth-Anything-V2-Base-hf",
      licence: "CC-BY-NC-4.0, non-commercial",
      parameters: 97.2e6,
      cpuSeconds: null,
    },
    {
      repository: "depth-anything/Depth-Anything-V2-Large-hf",
      licence: "CC-BY-NC-4.0, non-commercial",
      parameters: 334e6,
      cpuSeconds: null,
    },
  ],
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

/** Every published model of every estimator. */
export const publishedEstimators: readonly PublishedEstimator[] =
  estimatorDescriptions.flatMap<PublishedEstimator>(({ models }) => models);

/** The weights in memory, in bytes. */
export const bytesOfEstimator = ({ parameters }: PublishedEstimator): number => 4 * parameters;
