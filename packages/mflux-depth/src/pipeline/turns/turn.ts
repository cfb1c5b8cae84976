/** A turn that other callers may wait for. */
export class Turn {
  /** Resolves when another caller waits for the end of this turn. */
  readonly awaited: Promise<void>;
  /** Resolves `awaited`. */
  await: () => void = () => {};
  readonly #end: () => void;
  #ended = false;

  constructor(end: () => void) {
    this.#end = end;
    this.awaited = new Promise((resolve) => {
      this.await = resolve;
    });
  }

  /** Ends the turn. Later calls have no effect. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#end();
  }
}
