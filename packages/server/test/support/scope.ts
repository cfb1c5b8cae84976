/** What starts things that must end: a test, or a {@link Scope} of several. */
export interface Owner {
  readonly name: string;
  after(end: () => unknown): void;
}

/** Owns what several tests share; `end` belongs into their suite's `after`. */
export class Scope implements Owner {
  readonly name: string;
  readonly #ends: (() => unknown)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  after(end: () => unknown): void {
    this.#ends.push(end);
  }

  /** Ends everything, the latest first. */
  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}
