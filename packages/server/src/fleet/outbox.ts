import type { Report, Reports } from "./protocol.js";

/** Reports that are only worth sending while they are new. */
const passing: readonly Report["type"][] = ["load", "stage", "step", "preview"];

/** The maximum number of passing reports that wait. */
const mostPassing = 500;

/**
 * Sends reports in order, those that come while others are on their way together with the next. While nobody takes them,
 * the oldest of those that are only worth sending while they are new are dropped; others never.
 */
export class Outbox {
  readonly #send: (reports: Reports) => Promise<void>;
  #waiting: Report[] = [];
  #first = 0;
  #sending: Promise<void> | null = null;

  /** @param send resolves once the reports have been accepted, however long that takes. */
  constructor(send: (reports: Reports) => Promise<void>) {
    this.#send = send;
  }

  add(report: Report): void {
    this.#waiting.push(report);
    this.#dropOldest();
    this.#sending ??= this.#sendAll();
    // `flush` reports the failure.
    this.#sending.catch(() => {});
  }

  /** Resolves once all reports have been taken. @throws what sending throws. */
  async flush(): Promise<void> {
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const reports = this.#waiting;
        this.#waiting = [];
        await this.#send({ first: this.#first, reports });
        this.#first += reports.length;
      }
    } finally {
      this.#sending = null;
    }
  }

  #dropOldest(): void {
    const isPassing = ({ type }: Report): boolean => passing.includes(type);
    if (this.#waiting.filter(isPassing).length <= mostPassing) return;
    this.#waiting.splice(this.#waiting.findIndex(isPassing), 1);
  }
}
