import { isArray } from "./array.js";
import { MlxError } from "./errors.js";
import { native } from "./load.js";
import type { MxArray } from "./types.js";

/**
 * Runs `fn` and frees every array created inside it, except those found in its result (an array, or arrays inside
 * objects, lists and maps). Kept arrays pass to the surrounding scope, if there is one.
 * Freeing before evaluation is safe: a lazy graph holds its own references.
 *
 * `fn` must be synchronous, so that overlapping tasks cannot free each other's arrays.
 * An exception frees everything created inside.
 * @throws {MlxError} if `fn` returns a promise.
 */
export function scope<T>(fn: () => T): T {
  const depth = native.scopeEnter();
  let kept: MxArray[] = [];
  try {
    const result = fn();
    if (result instanceof Promise) {
      // Nobody handles this promise, and its rejection must not end the process.
      result.catch(() => undefined);
      throw new MlxError("scope", "the function returned a promise; a scope must be synchronous");
    }
    kept = arraysIn(result);
    return result;
  } finally {
    native.scopeExit(depth, kept);
  }
}

/** Collects the arrays reachable from `value` through objects, lists, maps and sets. */
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
