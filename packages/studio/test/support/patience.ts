/*
 * Waiting for what pages and servers do in their own time.
 */
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

/** No wait of a working page is this long, in milliseconds, even on a machine many times slower than most. */
export const patience = 120_000;

/** Asks until the answer is the expected one. When patience ends, the last answer tells what is wrong. */
export async function becomes<T>(expected: T, ask: () => Promise<T>): Promise<void> {
  const end = Date.now() + patience;
  let answer = await ask();
  while (!isDeepStrictEqual(answer, expected) && Date.now() < end) {
    await setTimeout(100);
    answer = await ask();
  }
  assert.deepEqual(answer, expected);
}
