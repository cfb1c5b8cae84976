import type { Remedy, Warning } from "../errors.js";
import type { GenerationResult, Latents, Picture } from "./result.js";

/** The stages of a generation, in their order. "image" encodes the photo that the generation starts from. */
export type StageName = "text" | "depth" | "control" | "image" | "denoise" | "decode";

/** What {@link FluxDepth.steps} yields. */
export type GenerationEvent =
  | { readonly type: "stage"; readonly stage: StageName; readonly state: "start" }
  | { readonly type: "stage"; readonly stage: StageName; readonly state: "end"; readonly seconds: number }
  | StepEvent
  /** Something about the request or the model that differs from what was requested; the result lists it too. */
  | { readonly type: "warning"; readonly message: string; readonly remedies?: readonly Remedy[] }
  | { readonly type: "result"; readonly result: GenerationResult };

/** One denoising step is done. */
export interface StepEvent {
  readonly type: "step";
  /** From 1 to `total`. */
  readonly index: number;
  /** Steps of this generation: fewer than requested when it starts from a photo. */
  readonly total: number;
  /** The noise level that the step began at. */
  readonly sigma: number;
  readonly seconds: number;
  /** The image as the model predicts it at this step. */
  readonly preview?: Picture;
  /** The latents after the step. */
  readonly latents?: Latents;
}

/** Collects warnings and reports each once, as a generation goes on. */
export class Warnings {
  readonly #all: Warning[] = [];
  #reported = 0;

  constructor(known: readonly string[]) {
    this.add(...known);
  }

  add(...warnings: readonly (string | Warning)[]): void {
    for (const one of warnings) this.#all.push(typeof one === "string" ? { message: one } : one);
  }

  /** One sentence for each warning. */
  get messages(): readonly string[] {
    return this.#all.map(({ message }) => message);
  }

  /** Yields the warnings added since the last report. */
  *report(): Generator<GenerationEvent, void, void> {
    for (; this.#reported < this.#all.length; this.#reported++)
      yield { type: "warning", ...this.#all[this.#reported]! };
  }
}
