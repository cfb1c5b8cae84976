/*
 * The messages between the owner and the engine's processes. They cross the channel of a child process as structured
 * clones, images as bytes.
 */
import type { SerializedError } from "../errors.js";
import type { ModelPurpose } from "../families/kinds.js";
import type { CachedModel } from "../hub/cached-models.js";
import type { ModelSource } from "../hub/obtain.js";
import type { DownloadProgress } from "../hub/transfer.js";
import type { GenerateRequest, LoadOptions } from "../options/index.js";
import type { GenerationEvent } from "../pipeline/events.js";
import type { FluxDepthOptions } from "../pipeline/flux-depth.js";

type GenerationResult = Extract<GenerationEvent, { type: "result" }>["result"];
export type ImageFormat = Parameters<GenerationResult["encode"]>[0];
export type LoadProgress = Parameters<NonNullable<FluxDepthOptions["onProgress"]>>[0];

/** A request, the model for it, and the form of the result. */
export interface EngineJob {
  readonly load: LoadOptions;
  readonly request: GenerateRequest;
  /** Adds a preview to every nth step event; 0, the default, adds none. */
  readonly previewEvery?: number;
  /** File format of the image; PNG by default. */
  readonly format?: ImageFormat;
}

export type EngineEvent =
  /** The engine's process has taken the job. */
  | { readonly type: "started" }
  /** A model is being downloaded, or weights are being read. */
  | ({ readonly type: "load" } & LoadProgress)
  | Exclude<GenerationEvent, { type: "result" }>;

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
}

export type ToEngine =
  | { readonly type: "generate"; readonly id: number; readonly job: EngineJob }
  | { readonly type: "cancel"; readonly id: number };

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

/** A task on the model cache. */
export type StoreRequest =
  | { readonly type: "list" }
  | { readonly type: "delete"; readonly repository: string; readonly revision?: string | undefined }
  | {
      readonly type: "download";
      readonly source: ModelSource;
      readonly purpose: ModelPurpose;
      readonly token?: string | undefined;
    };

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
  /** The name it was requested by. */
  readonly model: string;
  /** Resident memory of the engine's process. */
  readonly bytes: number;
}
