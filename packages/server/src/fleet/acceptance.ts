/** What a worker has found out about a model. */
interface Verdict {
  /** Why the worker cannot run it; null if it can. */
  readonly reason: string | null;
  /** In milliseconds, of a monotonic clock. */
  readonly at: number;
}

export interface AcceptanceOptions {
  /** Checks whether a model, given by its key, can run here. @returns the reason why not; null if it can. */
  readonly examine: (model: string) => Promise<string | null>;
  /** Called when a verdict is new or has changed. */
  readonly onChange: () => void;
  /** How long a verdict holds; a minute by default: models are downloaded, and memory is freed. */
  readonly validMs?: number;
}

/** The maximum number of models whose verdicts are kept. */
const mostVerdicts = 200;

/** The models that a worker can run. It takes jobs only for models that it has examined. */
export class Acceptance {
  readonly #options: AcceptanceOptions;
  readonly #verdicts = new Map<string, Verdict>();
  readonly #waiting = new Set<string>();
  #examining: Promise<void> | null = null;

  constructor(options: AcceptanceOptions) {
    this.#options = options;
  }

  /**
   * Whether a model can run here; false until it has been examined; {@link AcceptanceOptions.onChange} then reports the
   * verdict.
   */
  readonly accepts = (model: string): boolean => {
    this.consider(model);
    return this.#verdicts.get(model)?.reason === null;
  };

  /** Examines a model, unless that has been done recently. */
  consider(model: string): void {
    const { validMs = 60_000 } = this.#options;
    const known = this.#verdicts.get(model);
    if (known && performance.now() - known.at < validMs) return;
    this.#waiting.add(model);
    this.#examining ??= this.#examineAll();
  }

  /** The verdicts so far, by key. */
  get verdicts(): Readonly<Record<string, string | null>> {
    return Object.fromEntries([...this.#verdicts].map(([model, { reason }]) => [model, reason]));
  }

  /** One after another, because each reads files. */
  async #examineAll(): Promise<void> {
    for (const model of this.#waiting) {
      const reason = await this.#options.examine(model);
      const before = this.#verdicts.get(model);
      // The latest are at the end.
      this.#verdicts.delete(model);
      this.#verdicts.set(model, { reason, at: performance.now() });
      if (this.#verdicts.size > mostVerdicts) this.#verdicts.delete(this.#verdicts.keys().next().value!);
      this.#waiting.delete(model);
      if (before?.reason !== reason) this.#options.onChange();
    }
    this.#examining = null;
  }
}
