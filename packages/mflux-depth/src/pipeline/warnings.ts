import { inOptions } from "../advice.js";
import type { Warning } from "../errors.js";
import type { GenerationEvent } from "./events.js";

/** Collects the warnings of a generation and reports each one once. */
export class Warnings {
  readonly #all: Warning[] = [];
  #reported = 0;

  /** @param known warnings from before the generation. */
  constructor(known: readonly string[]) {
    this.add(...known);
  }

  add(...warnings: readonly (string | Warning)[]): void {
    for (const one of warnings) this.#all.push(typeof one === "string" ? { message: one } : one);
  }

  /** Each warning so far in one or two sentences, with its remedy in the names of options. */
  get messages(): readonly string[] {
    return this.#all.map(inOptions);
  }

  /** Yields the warnings added since the last report. */
  *report(): Generator<GenerationEvent, void, void> {
    for (; this.#reported < this.#all.length; this.#reported++)
      yield { type: "warning", ...this.#all[this.#reported]! };
  }
}
