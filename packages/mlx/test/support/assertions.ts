import assert from "node:assert/strict";
import { MlxError, type MxArray } from "../../src/index.js";
import { type Dense, dense, type Nested, nest } from "./dense.js";

const isDense = (data: Dense | Nested): data is Dense =>
  typeof data === "object" && "values" in data && "shape" in data;

/**
 * Asserts shape and values: `|actual - expected| <= tolerance * (1 + |expected|)`. Infinities and NaN must be equal,
 * and with tolerance 0 everything must be.
 */
export function close(actual: MxArray, expected: Dense | Nested, tolerance = 1e-6, note = ""): void {
  const wanted = isDense(expected) ? expected : nest(expected);
  const found = dense(actual);
  assert.deepEqual(found.shape, [...wanted.shape], `shape ${note}`);
  assert.equal(
    found.values.length,
    wanted.shape.reduce((product, n) => product * n, 1),
  );
  for (const [i, value] of found.values.entries()) {
    const right = wanted.values[i]!;
    if (Object.is(value, right) || value === right) continue;
    const difference = Math.abs(value - right);
    if (!(difference <= tolerance * (1 + Math.abs(right))) || !Number.isFinite(difference))
      assert.fail(`element ${i} is ${value}, expected ${right} (tolerance ${tolerance}) ${note}`);
  }
}

/** Asserts equality to the last bit. */
export const same = (actual: MxArray, expected: Dense | Nested, note = ""): void =>
  close(actual, expected, 0, note);

/** Asserts that the error is an MlxError of `operation` whose message starts with it and contains all `parts`. */
function describes(error: unknown, operation: string, parts: readonly (string | RegExp)[]): true {
  assert.ok(error instanceof MlxError, `not an MlxError: ${error}`);
  assert.equal(error.operation, operation);
  assert.ok(error.message.startsWith(`${operation}: `), error.message);
  for (const part of parts)
    assert.ok(
      typeof part === "string" ? error.message.includes(part) : part.test(error.message),
      `${error.message} lacks ${part}`,
    );
  return true;
}

/** Asserts that `fn` throws an MlxError of `operation` whose message contains all `parts`. */
export const refuses = (fn: () => unknown, operation: string, ...parts: (string | RegExp)[]): void =>
  assert.throws(fn, (error) => describes(error, operation, parts));

/** Asserts that the promise rejects with an MlxError of `operation` whose message contains all `parts`. */
export const rejects = (
  promise: Promise<unknown>,
  operation: string,
  ...parts: (string | RegExp)[]
): Promise<void> => assert.rejects(promise, (error) => describes(error, operation, parts));
