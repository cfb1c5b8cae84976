import { arraysIn, type MxArray } from "@mflux-depth/mlx";
import type { Remedy, Warning } from "../errors.js";
import type { ResolvedRequest } from "../options/index.js";
import type { Grid } from "../sampling/latents.js";
import type { Parts } from "./parts.js";
import type { GenerationResult, Latents, Picture } from "./result.js";

/** The parts of a generation, in their order. "image" encodes the photo that the run starts from. */
export type Stage = "text" | "depth" | "control" | "image" | "denoise" | "decode";

/** What {@link FluxDepth.steps} reports. */
export type GenerationEvent =
  | { readonly type: "stage"; readonly stage: Stage; readonly state: "start" }
  | { readonly type: "stage"; readonly stage: Stage; readonly state: "end"; readonly seconds: number }
  | StepEvent
  /** Something about the request or the model that is not quite as asked; the result has it among its warnings too. */
  | { readonly type: "warning"; readonly message: string; readonly remedies?: readonly Remedy[] }
  | { readonly type: "result"; readonly result: GenerationResult };

/** One denoising step is done. */
export interface StepEvent {
  readonly type: "step";
  /** From 1 to `total`. */
  readonly index: number;
  /** Steps that this run takes: fewer than asked for when it starts from a photo. */
  readonly total: number;
  /** The noise level that the step began at. */
  readonly sigma: number;
  readonly seconds: number;
  /** The picture as the model sees it coming. */
  readonly preview?: Picture;
  /** The latents after the step. */
  readonly latents?: Latents;
}

/** One generation. */
export interface Run {
  readonly request: ResolvedRequest;
  readonly grid: Grid;
  /** Steps between previews; 0 for none. */
  readonly previewEvery: number;
  readonly withLatents: boolean;
  readonly signal: AbortSignal;
  readonly arrays: Held;
  readonly clock: StageClock;
  readonly warnings: Warnings;
}

/** One sentence for each thing that the user should know; they come up as the generation goes on. */
export class Warnings {
  readonly #all: Warning[] = [];
  #reported = 0;

  constructor(known: readonly string[]) {
    this.add(...known);
  }

  add(...warnings: readonly (string | Warning)[]): void {
    for (const one of warnings) this.#all.push(typeof one === "string" ? { message: one } : one);
  }

  get all(): readonly string[] {
    return this.#all.map(({ message }) => message);
  }

  /** Those that have come up since the last report. */
  *report(): Generator<GenerationEvent, void, void> {
    for (; this.#reported < this.#all.length; this.#reported++)
      yield { type: "warning", ...this.#all[this.#reported]! };
  }
}

/** The arrays of one generation: however it ends, all are freed. */
export class Held {
  readonly #arrays = new Set<MxArray>();

  /** Owns the arrays in `tree` from now on. */
  keep<T>(tree: T): T {
    for (const one of arraysIn(tree)) this.#arrays.add(one);
    return tree;
  }

  /** Gives the arrays in `tree` to another owner. */
  release<T>(tree: T): T {
    for (const one of arraysIn(tree)) this.#arrays.delete(one);
    return tree;
  }

  free(tree: unknown): void {
    for (const one of arraysIn(this.release(tree))) one.dispose();
  }

  [Symbol.dispose](): void {
    this.free([...this.#arrays]);
  }
}

/** Times stages; reading weights counts for itself. */
export class StageClock {
  readonly #seconds: Record<string, number> = {};
  readonly #loading: { seconds: number };
  readonly #loadedBefore: number;
  #started = 0;
  #loaded = 0;

  constructor({ loading }: Parts) {
    this.#loading = loading;
    this.#loadedBefore = loading.seconds;
  }

  start(stage: Stage): GenerationEvent {
    this.#started = performance.now();
    this.#loaded = this.#loading.seconds;
    return { type: "stage", stage, state: "start" };
  }

  end(stage: Stage): GenerationEvent {
    const seconds = (performance.now() - this.#started) / 1000 - (this.#loading.seconds - this.#loaded);
    this.#seconds[stage] = seconds;
    return { type: "stage", stage, state: "end", seconds };
  }

  /** By stage, and under `load` what reading weights took. */
  get seconds(): Record<string, number> {
    return { ...this.#seconds, load: this.#loading.seconds - this.#loadedBefore };
  }
}
