/*
 * Every message is one sentence (or two) that says what was wrong, what was expected and what to do, so that a
 * command line can print it alone. Cancelling is not a failure: it rejects with the signal's own reason.
 */

/** The base of what this library throws on purpose. */
export abstract class MfluxDepthError extends Error {
  abstract override readonly name: string;
  /** What a command line exits with: 2 for a request that cannot be meant so, 1 for one that failed. */
  readonly exitCode: 1 | 2 = 1;
}

/** An option has a value outside its range, or options contradict each other. */
export class OptionError extends MfluxDepthError {
  override readonly name = "OptionError";
  override readonly exitCode = 2;

  constructor(
    /** The option's name as in `options.ts`: "steps", "depthImage". */
    readonly option: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A picture cannot be read, or is not what the request needs. */
export class ImageError extends MfluxDepthError {
  override readonly name = "ImageError";

  constructor(
    /** The file, or what the picture was given as. */
    readonly source: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${source}: ${reason}`, options);
  }
}

/** Weights, configs or tokenizers are missing, damaged, or of another model. */
export class ModelError extends MfluxDepthError {
  override readonly name = "ModelError";

  constructor(
    /** The file or folder concerned. */
    readonly source: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${source}: ${reason}`, options);
  }
}

/** A result cannot be written where it should go. */
export class OutputError extends MfluxDepthError {
  override readonly name = "OutputError";

  constructor(
    readonly path: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${path}: ${reason}`, options);
  }
}

/** The machine has less memory than a generation is estimated to need. */
export class MemoryError extends MfluxDepthError {
  override readonly name = "MemoryError";

  constructor(
    /** Estimated, in bytes. */
    readonly needed: number,
    /** What the machine can give, in bytes. */
    readonly available: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
