/** Depth-guided pictures with FLUX.1 Depth on MLX. */

export {
  DepthEstimate,
  type DepthFileOptions,
  type EstimateOptions,
  type MapAdjustments,
} from "./depth.js";
export * from "./errors.js";
export type { GenerationEvent, Stage, StepEvent } from "./generation.js";
export type { PictureParameters } from "./metadata.js";
export type {
  DeviceName,
  DTypeName,
  GenerateRequest,
  ImageInput,
  LoadOptions,
  MemoryPolicy,
  ModelReference,
  RawImage,
} from "./options.js";
export {
  FluxDepth,
  type FluxDepthOptions,
  type GenerateOptions,
} from "./pipeline.js";
export { type DepthMap, GenerationResult, type Latents, type Picture, type SaveOptions } from "./result.js";
export { type SavedModel, type SaveModelOptions, type SaveProgress, saveModel } from "./save.js";
export type { LoadProgress } from "./weights/component.js";
export type { DownloadProgress } from "./weights/hub.js";
export type { Repository } from "./weights/repository.js";
