/** Counts the jobs that need a model. */
export class ModelUses {
  readonly #counts = new Map<string, number>();

  /** Whether any job needs the model. */
  has(model: string): boolean {
    return this.#counts.has(model);
  }

  /** Records that a job needs models, until the returned value is disposed. */
  add(models: readonly string[]): Disposable {
    const names = new Set(models);
    for (const name of names) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        for (const name of names) {
          const left = this.#counts.get(name)! - 1;
          if (left > 0) this.#counts.set(name, left);
          else this.#counts.delete(name);
        }
      },
    };
  }
}
