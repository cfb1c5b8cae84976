import assert from "node:assert/strict";
import { memory } from "@mflux-depth/mlx";
import { ModelError, type OutputError } from "../../src/errors.js";

/** Asserts that an action throws a ModelError about `source` whose message matches, and leaves nothing in memory. */
export function refused(action: () => unknown, source: string, message: RegExp): void {
  const before = held();
  assert.throws(action, refusal(source, message));
  assert.deepEqual(held(), before);
}

/** Like {@link refused}, for promises. */
export async function refusedLater(
  action: () => Promise<unknown>,
  source: string,
  message: RegExp,
): Promise<void> {
  const before = held();
  await assert.rejects(action, refusal(source, message));
  assert.deepEqual(held(), before);
}

const held = (): object => [memory.activeMemory(), memory.liveHandles()];

const refusal = (source: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ModelError, String(error));
  assert.equal(error.source, source);
  assert.match(error.message, message);
  return true;
};

/** Asserts that an action fails with an error of a class whose message matches, and that it leaves nothing in memory. */
export async function failsWith(
  action: () => unknown,
  kind: typeof ModelError | typeof OutputError,
  message: RegExp,
): Promise<void> {
  const before = held();
  await assert.rejects(
    async () => action(),
    (error: unknown) => {
      assert.ok(error instanceof kind, String(error));
      assert.match(error.message, message);
      return true;
    },
  );
  assert.deepEqual(held(), before);
}
