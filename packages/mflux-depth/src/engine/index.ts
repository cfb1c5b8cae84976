/** Runs the pipeline and the model cache in separate processes, for programs that must stay responsive. */

export { bytesOfEstimator, type EstimatorModel, estimatorModels } from "../depth/descriptions.js";
export { EngineError } from "../errors.js";
export { defaultModelFolders } from "../families/kinds.js";
export { bundledModel, bundledModels, isBundled } from "../hub/repository.js";
export type { PictureFidelity } from "../images/metadata.js";
export { stepsOf } from "../pipeline/steps.js";
export { Engine, type EngineOptions, type RunOptions } from "./engine.js";
export { type MissingEstimators, missingEstimators } from "./missing-estimators.js";
export { type ModelHere, modelHere, savedLorasHere } from "./model-here.js";
export { modelNamesOf } from "./models.js";
export type {
  CheckpointPolicy,
  DepthJob,
  DepthMap,
  DepthResult,
  EngineEvent,
  EngineJob,
  EngineResult,
  EngineStep,
  HeldModel,
  JobPlan,
  Latents,
  Preview,
  Previews,
  ResumedJob,
} from "./protocol.js";
export {
  type CachedModel,
  cachedModels,
  type DeleteOptions,
  type DownloadOptions,
  type DownloadProgress,
  deleteModel,
  downloadModel,
} from "./store.js";
