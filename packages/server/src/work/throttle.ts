/** Passes values on at most once per interval: the first at once, then the latest of each interval. */
export class Throttle<T> implements Disposable {
  readonly #ms: number;
  readonly #pass: (value: T) => void;
  #pending: { readonly value: T } | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number, pass: (value: T) => void) {
    this.#ms = ms;
    this.#pass = pass;
  }

  add(value: T): void {
    if (this.#timer) {
      this.#pending = { value };
      return;
    }
    this.#pass(value);
    this.#timer = setTimeout(() => this.#continue(), this.#ms);
    this.#timer.unref();
  }

  /** Drops what it still holds. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#pending = null;
  }

  #continue(): void {
    this.#timer = undefined;
    const pending = this.#pending;
    this.#pending = null;
    if (pending) this.add(pending.value);
  }
}
