import type { JobEvent } from "../contract/index.js";

/** Progress that is only worth reporting while it is new. */
export type ProgressName = "load" | "stage" | "step";

/** An encoded preview. */
export interface Preview {
  readonly step: number;
  readonly bytes: Uint8Array;
  readonly mime: string;
  readonly width: number;
  readonly height: number;
}

/** Progress of a running attempt that the ledger does not store. */
export class LiveAttempt {
  readonly attempt: number;
  step: number;
  preview: Preview | null = null;
  readonly #stages: JobEvent[] = [];
  readonly #latest = new Map<string, JobEvent>();

  constructor(attempt: number, step: number) {
    this.attempt = attempt;
    this.step = step;
  }

  keep(event: JobEvent): void {
    if (event.event === "stage") this.#stages.push(event);
    else this.#latest.set(event.event, event);
  }

  /** Every stage event, and the latest of the other kinds. */
  get events(): readonly JobEvent[] {
    return [...this.#stages, ...this.#latest.values()];
  }
}
