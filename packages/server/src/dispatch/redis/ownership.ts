import type { Scripts } from "./scripts.js";

/** The sentence about a Redis that is another API's. */
export const takenMessage =
  "Another API has this Redis: the jobs of two data folders would be mixed there. Start this one with the data folder of " +
  "that API, or with a Redis or database of its own, such as redis://HOST:PORT/1. docs/fleet.md says how to hand a Redis over.";

/** Redis is another API's. */
export class RedisTaken extends Error {
  override readonly name = "RedisTaken";

  constructor() {
    super(takenMessage);
  }
}

/**
 * Whose a Redis is. It is the ledger's that came first, for as long as Redis remembers: neither a lock nor a time, so that
 * an API that was killed comes back at once, and never finds its place taken.
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

  /** Whether another API's ledger was there when one last looked. */
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
