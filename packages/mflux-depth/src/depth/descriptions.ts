/*
 * The known depth estimators, as data. Nothing here loads MLX, so that a process that only downloads models stays
 * small; registry.ts says how to open each.
 */
import { preprocessorFile } from "../files/repository-layout.js";
import { bundledEstimator } from "../hub/repository.js";

/** A model of a depth estimator, on the Hub or bundled. */
export interface EstimatorModel {
  /** "apple/DepthPro-hf", or the name of the bundled one. */
  readonly repository: string;
  /** A short name such as "Apache-2.0". The text is in the repository. */
  readonly licence: string;
  /** The number of weights that a depth map needs. Each takes four bytes in memory. */
  readonly parameters: number;
  /** Duration of an estimate on two CPU cores with weights in memory, in seconds; null if it has not been measured. */
  readonly cpuSeconds: number | null;
}

/** A type of depth estimator. */
export interface EstimatorDescription<Type extends string = string> {
  /** The `model_type` of its config, and its folder inside another model's repository. */
  readonly modelType: Type;
  /** The model's name: "Depth Pro". */
  readonly name: string;
  /** Its models, with the most permissive licence first and the bundled one last. */
  readonly models: readonly EstimatorModel[];
  /** Required files in addition to the config and the weights. */
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
      cpuSeconds: 56,
    },
  ],
  files: [{ name: preprocessorFile, optional: true }],
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
    {
      repository: bundledEstimator,
      licence: "Apache-2.0",
      parameters: 0.5e6,
      cpuSeconds: 0.1,
    },
  ],
  files: [{ name: preprocessorFile, optional: true }],
} as const satisfies EstimatorDescription;

/** All known depth estimators. */
export const estimatorDescriptions = [
  depthPro,
  depthAnything,
] as const satisfies readonly EstimatorDescription[];

export type EstimatorType = (typeof estimatorDescriptions)[number]["modelType"];

/** Their names, for messages. */
export const knownEstimators = estimatorDescriptions.map(({ name }) => name).join(", ");

/** Every known model of every estimator. */
export const estimatorModels: readonly EstimatorModel[] = estimatorDescriptions.flatMap<EstimatorModel>(
  ({ models }) => models,
);

/** The size of the weights in memory, in bytes. */
export const bytesOfEstimator = ({ parameters }: EstimatorModel): number => 4 * parameters;
