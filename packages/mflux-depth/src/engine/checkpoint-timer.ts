import type { CheckpointPolicy } from "./protocol.js";

/** Decides after which steps a job sends a checkpoint. */
export class CheckpointTimer {
  readonly #policy: CheckpointPolicy;
  #steps = 0;
  #seconds = 0;

  constructor(policy: CheckpointPolicy) {
    this.#policy = policy;
  }

  /**
   * Counts a step.
   * @param seconds since the step before.
   * @returns whether a checkpoint is due after it.
   */
  step(seconds: number): boolean {
    const { everySteps, minSeconds } = this.#policy;
    this.#steps++;
    this.#seconds += seconds;
    if (this.#steps < everySteps || this.#seconds < minSeconds) return false;
    this.#steps = 0;
    this.#seconds = 0;
    return true;
  }
}
