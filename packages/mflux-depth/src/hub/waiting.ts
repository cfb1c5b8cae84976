/** The reason why a download receives nothing. */
export interface Waiting {
  /** For example, "an answer from https://huggingface.co". */
  readonly for: string;
  readonly seconds: number;
}

export type WaitListener = (waiting: Waiting) => void;

/** How often a wait is reported. */
const reportMs = 5000;

/** Reports a wait every five seconds until it is over. */
export class WaitReport implements Disposable {
  readonly #listener: WaitListener | undefined;
  readonly #timer: NodeJS.Timeout;
  #what: string;
  #began = performance.now();

  /** @param everyMs replaces the five seconds. */
  constructor(what: string, listener: WaitListener | undefined, everyMs = reportMs) {
    this.#what = what;
    this.#listener = listener;
    this.#timer = setInterval(() => this.#report(), everyMs);
  }

  /** Restarts the clock after something has arrived. */
  restart(what = this.#what): void {
    this.#what = what;
    this.#began = performance.now();
    this.#timer.refresh();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #report(): void {
    this.#listener?.({ for: this.#what, seconds: (performance.now() - this.#began) / 1000 });
  }
}
