/** Depth-guided image generation with FLUX.1 Depth on MLX. */

export type { MapAdjustments } from "./depth/adjustments.js";
export { DepthEstimate } from "./depth/estimate.js";
export type { EstimateOptions } from "./depth/estimator.js";
export type { FidelityScores } from "./depth/fidelity.js";
export type { DepthFileOptions } from "./depth/files.js";
export type { DepthPrediction } from "./depth/prediction.js";
export { Fidelity, type ScoreOptions, score } from "./depth/score.js";
export * from "./errors.js";
export type { Repository } from "./hub/repository.js";
export type { DownloadProgress } from "./hub/transfer.js";
export type { PictureParameters } from "./images/metadata.js";
export type {
  AdapterInput,
  AdapterReference,
  DeviceName,
  DTypeName,
  GenerateRequest,
  ImageInput,
  LoadOptions,
  MemoryPolicy,
  ModelReference,
  RawImage,
  ShapedTensor,
  TensorInput,
} from "./options/index.js";
export { type BestOf, type BestOfOptions, bestOf, type RankedSeed } from "./pipeline/best-of.js";
export type { Checkpoint } from "./pipeline/checkpoint.js";
export type { GenerationEvent, PreviewKind, StageName as Stage, StepEvent } from "./pipeline/events.js";
export {
  FluxDepth,
  type FluxDepthOptions,
  type GenerateOptions,
  type StepOptions,
} from "./pipeline/flux-depth.js";
export type { LoraState } from "./pipeline/model/loras.js";
export type { Preparations } from "./pipeline/model/model.js";
export {
  type DepthMap,
  GenerationResult,
  type Latents,
  type Picture,
  type SaveOptions,
} from "./pipeline/result.js";
export {
  type SavedModel,
  type SaveModelOptions,
  type SaveProgress,
  saveModel,
} from "./pipeline/saving/save-model.js";
export type { LoadProgress, Preparation } from "./weights/component.js";
