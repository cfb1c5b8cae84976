import type { Row } from "./measure.js";

/** What a bench of many machines is told. */
export interface FleetBench {
  /** The share of the usual sizes: 1 for what documents quote. */
  readonly scale: number;
  /** Takes a row of the table as soon as it is known: minutes pass between them. */
  readonly add: (row: Row) => void;
}

/** Says on standard error what a bench is doing, and since when. */
export function progress(text: string): void {
  console.error(`${(performance.now() / 1000).toFixed(0).padStart(5)} s  ${text}`);
}
