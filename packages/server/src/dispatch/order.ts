import type { Offer } from "./dispatcher.js";

/** A job that waits, and how often others have overtaken it. */
export interface Waiting extends Offer {
  readonly overtaken: number;
  /** When it was first overtaken, in milliseconds; null if never. */
  readonly overtakenSince: number | null;
}

/** How far jobs for a loaded model may overtake others. */
export interface Bound {
  /** The most jobs that may overtake one. */
  readonly places: number;
  /** How long a job may be overtaken. */
  readonly ms: number;
}

export const usualBound: Bound = { places: 32, ms: 120_000 };

/** The order in which jobs start, ignoring loaded models. */
export const byTurn = (a: Offer, b: Offer): number => b.priority - a.priority || a.arrival - b.arrival;

export interface Choice {
  readonly chosen: Waiting;
  /** Jobs that it overtakes. */
  readonly overtaken: readonly Waiting[];
}

/**
 * Chooses the next job: the first of those for the loaded model, unless it would overtake a job of a higher priority or
 * one that has been overtaken to the bound.
 * @param queue in the order of {@link byTurn}.
 * @param model the loaded model; null for none.
 * @param now in milliseconds, of the same clock as `overtakenSince`.
 * @returns null for an empty queue.
 */
export function choose(
  queue: readonly Waiting[],
  model: string | null,
  { now, bound }: { readonly now: number; readonly bound: Bound },
): Choice | null {
  const first = queue[0];
  if (!first) return null;
  const canWait = ({ overtaken, overtakenSince }: Waiting): boolean =>
    overtaken < bound.places && (overtakenSince === null || now - overtakenSince < bound.ms);
  const overtaken: Waiting[] = [];
  for (const job of queue) {
    if (job.priority !== first.priority) break;
    if (job.model === model) return { chosen: job, overtaken };
    if (!canWait(job) || overtaken.length === bound.places) break;
    overtaken.push(job);
  }
  return { chosen: first, overtaken: [] };
}
