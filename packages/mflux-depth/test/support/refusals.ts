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
  holdsNoMore(before);
}

const held = (): { bytes: number; handles: number } => ({
  bytes: memory.activeMemory(),
  handles: memory.liveHandles(),
});

/** Asserts that memory has not grown. It may shrink during a promise, when garbage of other tests is collected. */
function holdsNoMore(before: ReturnType<typeof held>): void {
  const { bytes, handles } = held();
  assert.ok(bytes <= before.bytes, `${bytes} bytes are held; ${before.bytes} were held before`);
  assert.ok(handles <= before.handles, `${handles} arrays are held; ${before.handles} were held before`);
}

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
  holdsNoMore(before);
}
