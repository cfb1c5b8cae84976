import { evaluate } from "../evaluate.js";
import { arraysIn } from "../scope.js";
import type { MxArray } from "../types.js";

/**
 * A long computation in parts: yields what the rest depends on after each part, and returns the result. What a part
 * made is released when the next part no longer needs it, and when the generator is left early.
 *
 * The caller evaluates the yielded arrays, or not: everything is lazy. Advance it in one scope only, or in none.
 */
export type Stages<T = MxArray> = Generator<readonly MxArray[], T, void>;

/** Runs all parts as one lazy graph. */
export function lazily<T>(stages: Stages<T>): T {
  for (;;) {
    const step = stages.next();
    if (step.done) return step.value;
  }
}

/**
 * Runs the parts one after another, evaluating every `every`-th and the result off the event loop: memory is that of
 * a part, and between parts other work gets its turn. Not for use inside a scope, which cannot outlast an `await`.
 * @throws the reason of `signal` within milliseconds after it is aborted; {@link MlxError} when an evaluation fails.
 */
export async function runStages<T>(
  stages: Stages<T>,
  options: { signal?: AbortSignal | undefined; every?: number } = {},
): Promise<T> {
  const { signal, every = 1 } = options;
  try {
    for (let part = 1; ; part++) {
      signal?.throwIfAborted();
      const step = stages.next();
      if (step.done) {
        try {
          await evaluate(step.value, { signal });
        } catch (error) {
          for (const one of arraysIn(step.value)) one.dispose();
          throw error;
        }
        return step.value;
      }
      if (part % every === 0) await evaluate(step.value, { signal });
    }
  } finally {
    stages.return(undefined as T);
  }
}
