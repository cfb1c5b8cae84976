/*
 * What the engine's owner and the engine's process say to each other: structured clones over the channel of a child
 * process, so that pictures cross as bytes.
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

/** One picture to make, and with what. */
export interface EngineJob {
  readonly load: LoadOptions;
  readonly request: GenerateRequest;
  /** How many steps apart step events carry a preview; 0, the default, for none. */
  readonly previewEvery?: number;
  /** What the picture is encoded as; PNG when absent. */
  readonly format?: ImageFormat;
}

export type EngineEvent =
  /** The engine has taken the job. */
  | { readonly type: "started" }
  /** Weights are being read, or have been. */
  | ({ readonly type: "load" } & LoadProgress)
  | Exclude<GenerationEvent, { type: "result" }>;

export interface EngineResult {
  /** The encoded picture, with its parameters inside. */
  readonly image: Uint8Array;
  readonly format: ImageFormat;
  readonly width: number;
  readonly height: number;
  /** The seed that was used; null when the noise was given. */
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

/** What is to be done about the cache of models. */
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

/** What stays for the next job. */
export interface HeldModel {
  /** Its name, as it was asked for. */
  readonly model: string;
  /** Memory of the engine's process. */
  readonly bytes: number;
}
