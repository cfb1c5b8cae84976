import type { CheckpointPolicy } from "./protocol.js";

/** Decides after which steps a job sends a checkpoint. */
export class CheckpointTimer {
  readonly #policy: CheckpointPolicy;
  #steps = 0;
  #last = performance.now();

  constructor(policy: CheckpointPolicy) {
    this.#policy = policy;
  }

  /** Counts a step. @returns whether a checkpoint is due after it. */
  step(): boolean {
    const { everySteps, minSeconds } = this.#policy;
    this.#steps++;
    const now = performance.now();
    if (this.#steps < everySteps || now - this.#last < minSeconds * 1000) return false;
    this.#steps = 0;
    this.#last = now;
    return true;
  }
}
