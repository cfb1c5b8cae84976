import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isId, newId } from "../../src/ledger/ids.js";

describe("ids of jobs", () => {
  test("sort by their creation, thousands within a millisecond included", () => {
    const ids = Array.from({ length: 10_000 }, () => newId());
    assert.deepEqual([...ids].sort(), ids);
    assert.equal(new Set(ids).size, ids.length);
  });

  test("sort by their creation when the clock is set back", () => {
    const before = newId(Date.now() + 60_000);
    assert.ok(newId(Date.now() - 60_000) > before);
  });

  test("are recognised, and nothing like a path is", () => {
    assert.equal(isId(newId()), true);
    for (const text of ["", "..", "../../etc/passwd", `${newId()}/..`, newId().toUpperCase(), `${newId()}\n`])
      assert.equal(isId(text), false, text);
  });
});
