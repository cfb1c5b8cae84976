import { evaluate } from "../evaluate.js";
import { arraysIn } from "../scope.js";
import type { MxArray } from "../types.js";

/**
 * A long computation in pieces: yields, after each piece, the arrays that the rest depends on, and returns the result.
 * The generator releases arrays once later pieces no longer need them, and when it is left early.
 *
 * The caller may evaluate the yielded arrays; the computation is lazy either way. Advance it within a single scope, or
 * outside any.
 */
export type Stages<T = MxArray> = Generator<readonly MxArray[], T, void>;

/** Runs all stages as one lazy graph. */
export function lazily<T>(stages: Stages<T>): T {
  for (;;) {
    const next = stages.next();
    if (next.done) return next.value;
  }
}

/**
 * Runs the stages one after another and evaluates every `every`-th of them, and the result, off the event loop. Memory
 * is that of a single evaluation, and other tasks run in between. Do not call it inside a scope, which cannot span an
 * `await`.
 * @throws the reason of `signal` within milliseconds of an abort; {@link MlxError} if an evaluation fails.
 */
export async function runStages<T>(
  stages: Stages<T>,
  options: { signal?: AbortSignal | undefined; every?: number } = {},
): Promise<T> {
  const { signal, every = 1 } = options;
  try {
    for (let stage = 1; ; stage++) {
      signal?.throwIfAborted();
      const next = stages.next();
      if (next.done) {
        try {
          await evaluate(next.value, { signal });
        } catch (error) {
          for (const one of arraysIn(next.value)) one.dispose();
          throw error;
        }
        return next.value;
      }
      if (stage % every === 0) await evaluate(next.value, { signal });
    }
  } finally {
    stages.return(undefined as T);
  }
}
