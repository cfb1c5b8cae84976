import type { EngineEvent } from "mflux-depth/engine";
import type { EventData } from "../contract/index.js";

type Of<Type extends EngineEvent["type"]> = Extract<EngineEvent, { readonly type: Type }>;

/** The progress of reading weights, for clients. */
export const loadData = ({ component, bytes, bytesDone }: Of<"load">): EventData["load"] => ({
  component,
  done_bytes: bytesDone,
  total_bytes: bytes,
});

export const stageData = ({ stage, state }: Of<"stage">): EventData["stage"] => ({
  stage,
  state: state === "start" ? "started" : "finished",
});

/** @param usual the usual duration of a step. */
export const stepData = (
  { step, steps }: Pick<EventData["step"], "step" | "steps">,
  seconds: number,
  usual: number,
): EventData["step"] => ({
  step,
  steps,
  seconds: rounded(seconds),
  remaining_seconds: rounded((steps - step) * usual),
});

const rounded = (seconds: number): number => Math.round(seconds * 1000) / 1000;

/** Measures the usual duration of a step, an average weighted towards the latest. */
export class StepClock {
  #usual: number | null = null;
  #total = 0;

  add(seconds: number): number {
    this.#usual = this.#usual === null ? seconds : this.#usual + 0.3 * (seconds - this.#usual);
    this.#total += seconds;
    return this.#usual;
  }

  /** Null before the first step. */
  get usual(): number | null {
    return this.#usual;
  }

  /** The total duration of all steps. */
  get total(): number {
    return this.#total;
  }
}
