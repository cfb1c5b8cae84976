/*
 * The messages between the owner and the engine's processes. They cross the channel of a child process as structured
 * clones, images as bytes.
 */
import type { MapAdjustments } from "../depth/adjustments.js";
import type { SerializedError } from "../errors.js";
import type { CachedModel } from "../hub/cached-models.js";
import type { DownloadProgress } from "../hub/transfer.js";
import type { MapFormat } from "../images/map.js";
import type { PictureFidelity } from "../images/metadata.js";
import type { GenerateRequest, LoadOptions } from "../options/index.js";
import type { Checkpoint } from "../pipeline/checkpoint.js";
import type { GenerationEvent, PreviewKind, StepEvent } from "../pipeline/events.js";
import type { FluxDepthOptions } from "../pipeline/flux-depth.js";
import type { planModel } from "../pipeline/plan.js";
import type { NeededModel } from "./needed-model.js";

type GenerationResult = Extract<GenerationEvent, { type: "result" }>["result"];
export type Latents = GenerationResult["latents"];
export type DepthMap = GenerationResult["depthMap"];
export type ImageFormat = Parameters<GenerationResult["encode"]>[0];
export type LoadProgress = Parameters<NonNullable<FluxDepthOptions["onProgress"]>>[0];

/** A request, the model for it, and the form of the result. */
export interface EngineJob {
  readonly load: LoadOptions;
  readonly request: GenerateRequest;
  /** Adds a preview to every nth step event; none by default. */
  readonly previews?: Previews | undefined;
  /** File format of the image; PNG by default. */
  readonly format?: ImageFormat | undefined;
  /** When to send checkpoints; none by default. */
  readonly checkpoints?: CheckpointPolicy | undefined;
  /** Continues an interrupted job if the fingerprint matches; otherwise the job starts over. */
  readonly resume?: ResumedJob | undefined;
  /** Whether to return the depth map that was used (default false). */
  readonly includeDepthMap?: boolean | undefined;
  /** Whether to return the latents of the image (default false). */
  readonly includeLatents?: boolean | undefined;
  /**
   * Whether to score how faithfully the image keeps the depth map (default false), with an estimator other than the
   * map's source. The score is also written to the image's parameters.
   */
  readonly includeFidelity?: boolean | undefined;
}

export interface Previews {
  /** The number of steps from one preview to the next. */
  readonly every: number;
  /** "exact" decodes the latents, which takes as long as decoding the image; "fast" projects them, at a lower resolution. */
  readonly kind: PreviewKind;
}

/**
 * A checkpoint is sent after the first step at which both limits have passed since the last one, or since the start.
 */
export interface CheckpointPolicy {
  readonly everySteps: number;
  readonly minSeconds: number;
}

/** A checkpoint of the same job, with the fingerprint of the process that sent it. */
export interface ResumedJob extends Checkpoint {
  readonly fingerprint: string;
}

/** A small encoded image. */
export interface Preview {
  readonly bytes: Uint8Array;
  readonly mime: "image/jpeg";
  readonly width: number;
  readonly height: number;
}

/** A step event, without the parts that only the engine's process needs. */
export interface EngineStep extends Omit<StepEvent, "preview" | "latents" | "depthMap"> {
  readonly preview?: Preview;
}

export type EngineEvent =
  /**
   * The engine's process has taken the job and found its model. Equal fingerprints give equal pixels for the same
   * request.
   */
  | { readonly type: "started"; readonly fingerprint: string }
  /** The job continues after this step, instead of starting over. */
  | { readonly type: "resumed"; readonly step: number }
  /** The state after a step. The first checkpoint of a job has the depth map; null means that it has not changed. */
  | {
      readonly type: "checkpoint";
      readonly step: number;
      readonly latents: Latents;
      readonly depthMap: DepthMap | null;
    }
  /** A model is being downloaded, or weights are being read. */
  | ({ readonly type: "load" } & LoadProgress)
  | EngineStep
  | Exclude<GenerationEvent, { type: "result" | "step" }>;

export interface EngineResult {
  /** The encoded image, with its parameters as metadata. */
  readonly image: Uint8Array;
  readonly format: ImageFormat;
  readonly width: number;
  readonly height: number;
  /** The seed of the noise; null if the noise was given. */
  readonly seed: number | null;
  readonly metadata: GenerationResult["metadata"];
  readonly timings: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  /** The depth map that was used, at the size of the image; null unless the job requests it. */
  readonly depthMap: DepthMap | null;
  /** Null unless the job requests them. */
  readonly latents: Latents | null;
  /** Null unless the job requests it. */
  readonly fidelity: PictureFidelity | null;
}

/** A photo whose depth is to be estimated. */
export interface DepthJob {
  /** Decides the estimator: `depthModel`, or that of the model. */
  readonly load: LoadOptions;
  /** The bytes of the file. */
  readonly photo: Uint8Array;
  /** Settings for converting inverse depth to the grey values of the map. */
  readonly adjustments?: MapAdjustments | undefined;
  /** The file format of the map; no map by default. */
  readonly encode?: MapFormat | undefined;
}

export interface DepthResult {
  /** Pixels of the photo, upright. */
  readonly width: number;
  readonly height: number;
  /** Inverse depth at the estimator's own size, in its own units: near is large. Row by row. */
  readonly inverse: { readonly data: Float32Array; readonly width: number; readonly height: number };
  /** The adjusted map at the photo's size, encoded; null unless the job requests it. */
  readonly map: Uint8Array | null;
}

export type ToEngine =
  | { readonly type: "generate"; readonly id: number; readonly job: EngineJob }
  | { readonly type: "cancel"; readonly id: number }
  /** Carried out between two steps of the current job. */
  | { readonly type: "depth"; readonly id: number; readonly job: DepthJob }
  | { readonly type: "cancel-depth"; readonly id: number };

export type FromEngine =
  | { readonly type: "event"; readonly id: number; readonly event: EngineEvent }
  | {
      readonly type: "result";
      readonly id: number;
      readonly result: EngineResult;
      readonly held: HeldModel | null;
    }
  | {
      readonly type: "error";
      readonly id: number;
      readonly error: SerializedError;
      readonly held: HeldModel | null;
    };

export type FromDepth =
  | { readonly type: "depth"; readonly id: number; readonly result: DepthResult }
  | { readonly type: "depth-error"; readonly id: number; readonly error: SerializedError };

/** The parts of a job that determine its memory. Only the presence of images matters. */
export type PlannedJob = Pick<EngineJob, "load" | "request" | "previews" | "includeFidelity">;

export type JobPlan = Awaited<ReturnType<typeof planModel>>;

/** Requests to the side process, which answers in any order. */
export type SideRequest =
  | {
      readonly type: "depth";
      readonly job: DepthJob;
      /**
       * The generation in progress, whose memory is reserved, and the memory that its process holds; null if there is
       * none.
       */
      readonly runningJob: { readonly job: PlannedJob; readonly heldBytes: number } | null;
      /** Whether too little memory is an error; if not, the answer is null. */
      readonly required: boolean;
    }
  | {
      readonly type: "plan";
      readonly job: PlannedJob;
      /** The memory held by the engine's process, which the job could reuse. */
      readonly heldBytes: number;
    };

export type ToSide =
  | { readonly type: "request"; readonly id: number; readonly request: SideRequest }
  | { readonly type: "cancel"; readonly id: number };

export type FromSide =
  /** Null if there is too little memory. */
  | { readonly type: "depth"; readonly id: number; readonly result: DepthResult | null }
  | { readonly type: "plan"; readonly id: number; readonly plan: JobPlan }
  | { readonly type: "error"; readonly id: number; readonly error: SerializedError };

/** A task on the model cache. */
export type StoreRequest =
  | { readonly type: "list" }
  | { readonly type: "delete"; readonly repository: string; readonly revision?: string | undefined }
  | ({ readonly type: "download"; readonly token?: string | undefined } & NeededModel);

export type ToStore =
  | { readonly type: "request"; readonly request: StoreRequest }
  | { readonly type: "cancel" };

export type FromStore =
  | { readonly type: "progress"; readonly progress: DownloadProgress }
  | { readonly type: "models"; readonly models: readonly CachedModel[] }
  | { readonly type: "deleted"; readonly deleted: boolean }
  | { readonly type: "folder"; readonly folder: string }
  | { readonly type: "error"; readonly error: SerializedError };

/** The model that stays in memory for the next job. */
export interface HeldModel {
  /** The name under which it was requested. */
  readonly model: string;
  /** Resident memory of the engine's process. */
  readonly bytes: number;
}
