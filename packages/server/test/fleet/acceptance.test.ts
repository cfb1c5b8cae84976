import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Acceptance } from "../../src/fleet/acceptance.js";

/** Resolves with the acceptance once it has found out something. */
function acceptance(reasons: Record<string, string | null>, validMs = 60_000) {
  const looks: string[] = [];
  let tell: () => void = () => {};
  const found = new Acceptance({
    examine: async (model) => {
      looks.push(model);
      return reasons[model] ?? null;
    },
    onChange: () => tell(),
    validMs,
  });
  const changed = (): Promise<void> =>
    new Promise((resolve) => {
      tell = resolve;
    });
  return { found, looks, changed };
}

describe("what a worker accepts", () => {
  test("is nothing that it has not looked at, and then what fits", async () => {
    const { found, changed } = acceptance({});
    const change = changed();
    assert.equal(found.accepts("a"), false);
    await change;
    assert.equal(found.accepts("a"), true);
  });

  test("leaves out what cannot run here, and says why", async () => {
    const { found, changed } = acceptance({ a: "It is not here." });
    const change = changed();
    found.consider("a");
    await change;
    assert.equal(found.accepts("a"), false);
    assert.deepEqual(found.verdicts, { a: "It is not here." });
  });

  test("is looked at once while it holds, and again afterwards", async () => {
    const lasting = acceptance({});
    let change = lasting.changed();
    lasting.found.consider("a");
    await change;
    lasting.found.consider("a");
    assert.deepEqual(lasting.looks, ["a"]);
    const reasons: Record<string, string | null> = { a: "Not yet." };
    const passing = acceptance(reasons, 0);
    change = passing.changed();
    passing.found.consider("a");
    await change;
    reasons.a = null;
    change = passing.changed();
    passing.found.consider("a");
    await change;
    assert.equal(passing.found.verdicts.a, null);
  });
});
