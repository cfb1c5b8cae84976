import { MlxError } from "./errors.js";
import { native } from "./load.js";
import { arraysIn } from "./scope.js";
import type { MxArray } from "./types.js";

/** An array, or a structure of lists, maps and plain objects that holds arrays. */
export type ArrayTree = unknown;

let lastEvaluation: Promise<unknown> = Promise.resolve();

/**
 * Computes the arrays off the event loop. Evaluations of one thread run one after another.
 *
 * @param options `signal` ends a running evaluation within milliseconds: the promise rejects with the signal's reason.
 *   Unfinished arrays, and arrays that depend on them, become unreadable; all others are unaffected.
 * @throws {MlxError} if the computation fails; unfinished arrays become unreadable, as after a cancel.
 */
export async function evaluate(
  tree: ArrayTree,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal } = options;
  const arrays = arraysIn(tree);
  const caller = { stack: "" };
  Error.captureStackTrace(caller, evaluate);
  // A failure does not stop the queue: each caller learns only about its own evaluation.
  const run = lastEvaluation.then(async () => {
    signal?.throwIfAborted();
    const cancel = (): void => native.cancelEvaluation();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      await native.evaluate(arrays);
    } catch (error) {
      signal?.throwIfAborted();
      // The error was created outside the caller's stack; the useful frames are those of the call.
      if (error instanceof Error) error.stack = `${error}\n${caller.stack.split("\n").slice(1).join("\n")}`;
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
    signal?.throwIfAborted();
  });
  lastEvaluation = run.catch(() => undefined);
  return run;
}

/**
 * Computes the arrays on this thread, blocking it. For small arrays.
 * @throws {MlxError} if the computation fails.
 */
export function evaluateSync(...trees: ArrayTree[]): void {
  native.evaluateSync(arraysIn(trees));
}

// ---------------------------------------------------------------- function transformations

/** A function from arrays to an array or a list of arrays. */
export type ArrayFunction = (...args: MxArray[]) => MxArray | MxArray[];

const listOf = (result: MxArray | MxArray[]): MxArray[] => (Array.isArray(result) ? result : [result]);

/**
 * Returns a function that computes the value of `fn` and its gradients with respect to the arguments `argnums`.
 * The first result of `fn` must be a scalar; further results are passed through.
 */
export function valueAndGrad(
  fn: ArrayFunction,
  argnums: readonly number[] = [0],
): (...args: MxArray[]) => { values: MxArray[]; grads: MxArray[] } {
  return (...args) => {
    const [values, grads] = native.valueAndGrad((inputs) => listOf(fn(...inputs)), [...argnums], args);
    return { values: values!, grads: grads! };
  };
}

/** Returns a function that computes the gradients of a scalar function with respect to the arguments `argnums`. */
export function grad(fn: ArrayFunction, argnums: readonly number[] = [0]): (...args: MxArray[]) => MxArray[] {
  const both = valueAndGrad(fn, argnums);
  return (...args) => {
    const { values, grads } = both(...args);
    for (const value of values) value.dispose();
    return grads;
  };
}

/** Computes the outputs of `fn` and the product of `cotangents` with its Jacobian. */
export function vjp(
  fn: ArrayFunction,
  primals: readonly MxArray[],
  cotangents: readonly MxArray[],
): { outputs: MxArray[]; vjps: MxArray[] } {
  const [outputs, vjps] = native.vjp((inputs) => listOf(fn(...inputs)), [...primals], [...cotangents]);
  return { outputs: outputs!, vjps: vjps! };
}

/** Computes the outputs of `fn` and the product of its Jacobian with `tangents`. */
export function jvp(
  fn: ArrayFunction,
  primals: readonly MxArray[],
  tangents: readonly MxArray[],
): { outputs: MxArray[]; jvps: MxArray[] } {
  const [outputs, jvps] = native.jvp((inputs) => listOf(fn(...inputs)), [...primals], [...tangents]);
  return { outputs: outputs!, jvps: jvps! };
}

/**
 * Traces `fn` once for each combination of shapes and dtypes and fuses its elementwise operations. On the CPU backend,
 * `fn` runs unchanged: fusing gains nothing there, and MLX would load any library planted in a shared temporary folder.
 * Arrays captured from outside `fn` are constants of the trace.
 */
export function compile(
  fn: ArrayFunction,
  options: { shapeless?: boolean } = {},
): (...args: MxArray[]) => MxArray[] {
  const compiled = native.compile((inputs) => listOf(fn(...inputs)), options.shapeless ?? false);
  return (...args) => {
    if (!args.every((arg) => native.isArray(arg))) throw new MlxError("compile", "arguments must be arrays");
    return compiled(args);
  };
}
