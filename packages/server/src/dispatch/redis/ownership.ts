import type { Scripts } from "./scripts.js";

/** The sentence about a Redis that is another API's. */
export const takenMessage =
  "This Redis belongs to another API, and it can hold the jobs of only one data folder. Start this API with that data " +
  "folder, or give it a Redis or database of its own, such as redis://HOST:PORT/1. docs/fleet.md says how to hand a Redis over.";

/** Redis is another API's. */
export class RedisTaken extends Error {
  override readonly name = "RedisTaken";

  constructor() {
    super(takenMessage);
  }
}

/**
 * Which ledger owns a Redis: the first to claim it, until Redis is emptied. Ownership is not a lock and does not
 * expire, so an API that was killed can return at once and finds its place still free.
 */
export class Ownership {
  readonly #scripts: Scripts;
  readonly #ledger: string;
  #state: "unknown" | "ours" | "taken" = "unknown";

  /** @param ledger the id of the API's ledger. */
  constructor(scripts: Scripts, ledger: string) {
    this.#scripts = scripts;
    this.#ledger = ledger;
  }

  /** Whether Redis belonged to another API at the last check. */
  get isTaken(): boolean {
    return this.#state === "taken";
  }

  /** Looks again before anything is done: Redis may be another one, or empty. */
  forget(): void {
    if (this.#state === "ours") this.#state = "unknown";
  }

  /** Whether Redis is this ledger's, as far as is known; looks if it is not. @throws Redis's errors. */
  async holds(): Promise<boolean> {
    return this.#state === "ours" || this.look();
  }

  /** Takes Redis for this ledger unless another has it. @returns whether it is this one's. @throws Redis's errors. */
  async look(): Promise<boolean> {
    const owner = await this.#scripts.own(this.#ledger);
    this.#state = owner === this.#ledger ? "ours" : "taken";
    return this.#state === "ours";
  }
}
