import type { Remedy } from "../errors.js";
import type { DepthMap, GenerationResult, Latents, Picture } from "./result.js";

/** The stages of a generation, in order. "image" encodes the photo that the generation starts from. */
export type StageName = "text" | "depth" | "control" | "image" | "denoise" | "decode";

/** An event of a generation, as {@link FluxDepth.steps} yields them. */
export type GenerationEvent =
  | { readonly type: "stage"; readonly stage: StageName; readonly state: "start" }
  /** `seconds` excludes the time spent reading weights. */
  | { readonly type: "stage"; readonly stage: StageName; readonly state: "end"; readonly seconds: number }
  | StepEvent
  /** A difference from what was requested, in the request or the model; the result lists it too. */
  | { readonly type: "warning"; readonly message: string; readonly remedies?: readonly Remedy[] }
  | { readonly type: "result"; readonly result: GenerationResult };

/**
 * How the image at a step is made: "exact" decodes the latents with the VAE, at the cost of decoding the image; "fast"
 * projects them to colours, a quarter of the size, at no noticeable cost.
 */
export type PreviewKind = (typeof previewKinds)[number];
export const previewKinds = ["exact", "fast"] as const;

/** The end of a denoising step. */
export interface StepEvent {
  readonly type: "step";
  /** 1 to `total`. */
  readonly index: number;
  /** Steps of this generation: fewer than requested when it starts from a photo. */
  readonly total: number;
  /** The noise level at which the step began, from 1 (noise alone) to 0. */
  readonly sigma: number;
  readonly seconds: number;
  /** The image that the model predicts at this step, if the step has a preview. */
  readonly preview?: Picture;
  /** The latents after the step, if requested. */
  readonly latents?: Latents;
  /** The depth map in use, if latents are requested: together they make a checkpoint. */
  readonly depthMap?: DepthMap;
}
