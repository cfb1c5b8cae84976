import { arraysIn, type MxArray, scope } from "@mflux-depth/mlx";
import type { Stages } from "@mflux-depth/mlx/nn";

/** Yields arrays and returns them. Releases them when the computation ends at this point. */
export function* evaluated<T>(made: T): Stages<T> {
  let finished = false;
  try {
    yield arraysIn(made);
    finished = true;
    return made;
  } finally {
    if (!finished) disposeAll(arraysIn(made));
  }
}

/**
 * Computes something from `inputs`, yields it and returns it. The inputs are released before the yield: during the
 * evaluation only the graph holds them, so their memory is free as soon as the last operation has read it.
 */
export function* consuming<Inputs extends readonly MxArray[], T>(
  inputs: readonly [...Inputs],
  compute: (...inputs: Inputs) => T,
): Stages<T> {
  let made: T;
  try {
    made = scope(() => compute(...inputs));
  } finally {
    disposeAll(inputs);
  }
  return yield* evaluated(made);
}

export function disposeAll(arrays: Iterable<MxArray>): void {
  for (const one of arrays) one.dispose();
}

/** Adds up work and reports its share of the total. */
export function shareOf(total: number, report: ((done: number) => void) | undefined): (work: number) => void {
  let done = 0;
  return (work) => {
    done += work;
    report?.(Math.min(done / total, 1));
  };
}
