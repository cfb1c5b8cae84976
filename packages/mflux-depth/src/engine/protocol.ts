/*
 * What the engine's owner and the engine's process say to each other: structured clones over the channel of a child
 * process, so that pictures cross as bytes.
 */
import { ImageError, MemoryError, MfluxDepthError, ModelError, OptionError, OutputError } from "../errors.js";
import type { CachedModel } from "../hub/cached-models.js";
import type { ModelKind } from "../hub/needed.js";
import type { DownloadProgress, ModelSource } from "../hub/obtain.js";
import type { GenerateRequest, LoadOptions } from "../options/index.js";
import type { FluxDepthOptions, GenerationEvent } from "../pipeline/flux-depth.js";

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

/** The engine itself failed, not the request: it ended, could not be started, or has been closed. */
export class EngineError extends MfluxDepthError {
  override readonly name = "EngineError";
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
      readonly error: PlainError;
      readonly held: HeldModel | null;
    };

/** What is to be done about the cache of models. */
export type StoreRequest =
  | { readonly type: "list" }
  | { readonly type: "delete"; readonly repository: string; readonly revision?: string | undefined }
  | {
      readonly type: "download";
      readonly source: ModelSource;
      readonly kind: ModelKind;
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
  | { readonly type: "error"; readonly error: PlainError };

/** What stays for the next job. */
export interface HeldModel {
  /** Its name, as it was asked for. */
  readonly model: string;
  /** Memory of the engine's process. */
  readonly bytes: number;
}

/** An error as it crosses between processes. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** The option, file or path that the error names; the bytes needed and available. */
  readonly subject: string | undefined;
}

export function toPlain(error: unknown): PlainError {
  if (!(error instanceof Error))
    return { name: "Error", message: String(error), stack: undefined, subject: undefined };
  const subject =
    error instanceof OptionError
      ? error.option
      : error instanceof ImageError || error instanceof ModelError
        ? error.source
        : error instanceof OutputError
          ? error.path
          : error instanceof MemoryError
            ? `${error.needed} ${error.available}`
            : undefined;
  return { name: error.name, message: error.message, stack: error.stack, subject };
}

/** The error again, of its own class where that is one of ours. */
export function fromPlain({ name, message, stack, subject = "" }: PlainError): Error {
  const cause = new Error(message);
  cause.name = name;
  if (stack !== undefined) cause.stack = stack;
  const reason = message.startsWith(`${subject}: `) ? message.slice(subject.length + 2) : message;
  switch (name) {
    case "OptionError":
      return new OptionError(subject, message, { cause });
    case "ImageError":
      return new ImageError(subject, reason, { cause });
    case "ModelError":
      return new ModelError(subject, reason, { cause });
    case "MemoryError": {
      const [needed = 0, available = 0] = subject.split(" ").map(Number);
      return new MemoryError(needed, available, message, { cause });
    }
    case "OutputError":
      return new OutputError(subject, reason, { cause });
    default:
      return new EngineError(message, { cause });
  }
}
