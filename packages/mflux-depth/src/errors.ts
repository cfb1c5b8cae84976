/*
 * Every message is one or two sentences that say what happened, what was expected and what to do, so that it makes
 * sense on its own. Messages name options as the library does ("depthImage"). Advice that a front end has to phrase in
 * its own terms (flags, form fields, links) is data: `details.remedies`.
 *
 * Cancelling is not a failure: it rejects with the signal's own reason.
 */

/** Stable names of what went wrong, for programs to branch on. */
export type ErrorCode =
  /** A value has the wrong type or form. */
  | "option-invalid"
  /** A number is out of range, or a choice is not one of the allowed values. */
  | "option-out-of-range"
  | "option-missing"
  | "option-unknown"
  /** Options contradict each other. */
  | "option-conflict"
  | "image-unusable"
  | "image-not-found"
  /** Weights, configs or tokenizers are damaged, incomplete, or of another model. */
  | "model-unusable"
  /** The model is neither on this machine nor, if downloading is allowed, on the Hub. */
  | "model-not-found"
  /** A job still needs a model that should be deleted. */
  | "model-in-use"
  | "output-not-writable"
  | "memory-insufficient"
  | "engine-failed"
  | "engine-closed"
  /** The engine's process could not be started. */
  | "engine-not-started"
  /** The engine's process ended while it worked. */
  | "engine-ended"
  /** An error of another library or a mistake in this one; `details.name` is its class. */
  | "unexpected-error";

/** Something the user can do about an error or a warning. Options have the library's names. */
export type Remedy =
  /** Give an option a value; without `value`, the user knows it. `purpose` says what for: "try anyway". */
  | {
      readonly kind: "set-option";
      readonly option: string;
      readonly value?: string | number | boolean;
      readonly purpose?: string;
      /** When it applies, as a clause: "white means far in this file". */
      readonly condition?: string;
    }
  | { readonly kind: "omit-option"; readonly option: string; readonly condition?: string }
  /** Download a model before its first use; `option` names it, if known. */
  | { readonly kind: "download"; readonly model: string; readonly option?: "model" | "depthModel" }
  /** Check what this machine lacks. */
  | { readonly kind: "inspect-machine" }
  /** Reinstall a part of this package: MLX's addon, the image codec, or everything. */
  | { readonly kind: "reinstall"; readonly part: "mlx" | "codec" | "everything" }
  /** Remove an environment variable, or give it another value. */
  | { readonly kind: "correct-variable"; readonly variable: string };

/** A problem that does not stop a request. */
export interface Warning {
  readonly message: string;
  readonly remedies?: readonly Remedy[];
}

/** Facts about an error, in values that survive JSON. */
export interface ErrorDetails {
  readonly remedies?: readonly Remedy[];
  readonly [name: string]: unknown;
}

/** Optional facts about an error. */
export interface ErrorFacts extends ErrorOptions {
  readonly code?: ErrorCode;
  readonly details?: ErrorDetails;
}

/** Limits messages, because they quote values of any length from files and callers. */
const longestMessage = 2000;

/** Cuts the middle out of a message that is too long to read. */
export const shortened = (message: string): string =>
  message.length <= longestMessage
    ? message
    : `${message.slice(0, longestMessage - 500)} … ${message.slice(-400)}`;

/** The base class of all errors that this library throws deliberately. */
export abstract class MfluxDepthError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(message: string, { code = "unexpected-error", details = {}, ...options }: ErrorFacts = {}) {
    super(shortened(message), options);
    this.code = code;
    this.details = details;
  }

  abstract override get name(): string;

  /** The exit code of a command line: 2 for a request that makes no sense, 1 for one that failed. */
  get exitCode(): 1 | 2 {
    return 1;
  }

  /** The error for an answer in JSON, without its stack. */
  toJSON(): Omit<SerializedError, "stack"> {
    const { name, code, message, details } = this;
    return { name, code, message, details };
  }
}

/** An option has an invalid value, or options contradict each other. */
export class OptionError extends MfluxDepthError {
  /** @param option the option's name in the table of options ("steps", "depthImage"), or the flag given. */
  constructor(
    option: string,
    message: string,
    { code = "option-invalid", details, ...options }: ErrorFacts = {},
  ) {
    super(message, { ...options, code, details: { option, ...details } });
  }

  override get name() {
    return "OptionError" as const;
  }

  override get exitCode() {
    return 2 as const;
  }

  /** The option's name in the table of options: "steps", "depthImage". */
  get option(): string {
    return this.details.option as string;
  }
}

/** An image cannot be read, or does not suit the request. */
export class ImageError extends MfluxDepthError {
  /** @param source the image's file, or a name for an image without one. */
  constructor(
    source: string,
    reason: string,
    { code = "image-unusable", details, ...options }: ErrorFacts = {},
  ) {
    super(`${source}: ${reason}`, { ...options, code, details: { source, ...details } });
  }

  override get name() {
    return "ImageError" as const;
  }

  /** The image's file, or a name for an image without one. */
  get source(): string {
    return this.details.source as string;
  }
}

/** Weights, configs or tokenizers are missing, damaged, or of another model. */
export class ModelError extends MfluxDepthError {
  /** @param source the file, folder or repository concerned. */
  constructor(
    source: string,
    reason: string,
    { code = "model-unusable", details, ...options }: ErrorFacts = {},
  ) {
    super(`${source}: ${reason}`, { ...options, code, details: { source, ...details } });
  }

  override get name() {
    return "ModelError" as const;
  }

  /** The file, folder or repository concerned. */
  get source(): string {
    return this.details.source as string;
  }

  /** The option that names the model: "model", "loras" or "depthModel". */
  get option(): string {
    return (this.details.option as string | undefined) ?? "model";
  }
}

/**
 * Lets a model error say which option names the model; without it, that is `model`.
 * @throws the error.
 */
export const aboutOption =
  (option: "loras" | "depthModel") =>
  (error: unknown): never => {
    if (error instanceof ModelError) Object.assign(error.details, { option });
    throw error;
  };

/** The output cannot be written. */
export class OutputError extends MfluxDepthError {
  constructor(
    path: string,
    reason: string,
    { code = "output-not-writable", details, ...options }: ErrorFacts = {},
  ) {
    super(`${path}: ${reason}`, { ...options, code, details: { path, ...details } });
  }

  override get name() {
    return "OutputError" as const;
  }

  get path(): string {
    return this.details.path as string;
  }
}

/** Changed settings with which a generation would fit, and its estimated peak then, in bytes. */
export interface MemoryAlternative {
  readonly memory?: "resident" | "low";
  readonly quantize?: number;
  readonly width?: number;
  readonly height?: number;
  readonly peak: number;
}

/** The machine has less memory than a generation is estimated to need. */
export class MemoryError extends MfluxDepthError {
  /**
   * @param needed the estimate, in bytes.
   * @param available to this process, in bytes.
   */
  constructor(
    needed: number,
    available: number,
    message: string,
    { code = "memory-insufficient", details, ...options }: ErrorFacts = {},
  ) {
    super(message, { ...options, code, details: { needed, available, ...details } });
  }

  override get name() {
    return "MemoryError" as const;
  }

  /** The estimate, in bytes. */
  get needed(): number {
    return this.details.needed as number;
  }

  /** Memory that this process can have, in bytes. */
  get available(): number {
    return this.details.available as number;
  }

  /** Settings that would fit; empty if even the smallest would not. */
  get alternatives(): readonly MemoryAlternative[] {
    return (this.details.alternatives ?? []) as readonly MemoryAlternative[];
  }
}

/** The engine itself failed, not the request: its process ended, could not be started, or has been closed. */
export class EngineError extends MfluxDepthError {
  constructor(message: string, { code = "engine-failed", ...facts }: ErrorFacts = {}) {
    super(message, { ...facts, code });
  }

  override get name() {
    return "EngineError" as const;
  }
}

// ---------------------------------------------------------------- between processes

/** An error as data: it survives JSON and structured clones. */
export interface SerializedError {
  readonly name: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly stack: string | undefined;
}

/** Any thrown value as data. Errors of other libraries get the code "unexpected-error". */
export function serializeError(error: unknown): SerializedError {
  if (error instanceof MfluxDepthError) return { ...error.toJSON(), stack: error.stack };
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { name, code: "unexpected-error", message, details: { name }, stack };
}

const classes: Readonly<Record<string, new (...args: never[]) => MfluxDepthError>> = {
  OptionError,
  ImageError,
  ModelError,
  OutputError,
  MemoryError,
  EngineError,
};

/** The error again, with its message, stack, code and details; of its own class, or an EngineError for foreign ones. */
export function restoreError({ name, code, message, details, stack }: SerializedError): MfluxDepthError {
  const original = Object.hasOwn(classes, name) ? classes[name]! : EngineError;
  // The base's constructor: the class's own would put its subject in front of the message again.
  const error = Reflect.construct(MfluxDepthError, [message, { code, details }], original) as MfluxDepthError;
  return Object.defineProperty(error, "stack", { value: stack, configurable: true, writable: true });
}
