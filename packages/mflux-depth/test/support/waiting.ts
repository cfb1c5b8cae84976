import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits until a condition holds, for as long as a busy machine may need.
 * @throws {AssertionError} if it does not hold within a minute.
 */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `not within a minute: ${holds}`);
    await sleep(10);
  }
}

/** Waits until a file exists and has at least `bytes` bytes. */
export const untilWritten = (file: string, bytes: number): Promise<void> =>
  until(async () => {
    const found = await stat(file).catch(() => null);
    return found !== null && found.size >= bytes;
  });
