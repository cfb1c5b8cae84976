import { isArray } from "./array.js";
import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { MxArray } from "./types.js";

/**
 * Runs `fn` and frees every array made inside it, except those found in what it returns (an array, or arrays
 * inside plain objects, lists, maps). Kept arrays belong to the surrounding scope, if any.
 * Freeing before evaluation is safe: a lazy graph holds its own references.
 *
 * `fn` must be synchronous, so that overlapping work cannot free each other's arrays.
 * An exception frees everything made inside.
 * @throws {MlxError} when `fn` returns a promise.
 */
export function scope<T>(fn: () => T): T {
  const depth = native.scopeEnter();
  let kept: MxArray[] = [];
  try {
    const result = fn();
    if (result instanceof Promise) {
      // The rejection of a promise that nobody will see must not end the process.
      result.catch(() => undefined);
      throw new MlxError("scope", "the function returned a promise; a scope must be synchronous");
    }
    kept = arraysIn(result);
    return result;
  } finally {
    native.scopeExit(depth, kept);
  }
}

/** The arrays reachable from `value` through plain objects, lists, maps and typed results. */
export function arraysIn(value: unknown): MxArray[] {
  const found: MxArray[] = [];
  const seen = new Set<object>();
  const visit = (item: unknown): void => {
    if (typeof item !== "object" || item === null || seen.has(item)) return;
    seen.add(item);
    if (isArray(item)) found.push(item);
    else if (item instanceof Map || item instanceof Set || Array.isArray(item))
      for (const inner of item.values()) visit(inner);
    else if (!ArrayBuffer.isView(item)) for (const inner of Object.values(item)) visit(inner);
  };
  visit(value);
  return found;
}
