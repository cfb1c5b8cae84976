import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Reserve } from "../../src/data-folder/reserve.js";
import { newReserve, temporaryFolder } from "../support/folder.js";

describe("the reserve on disk", () => {
  test("takes room, gives it to others, and takes it again", async (t) => {
    const path = join(temporaryFolder(t), "reserve");
    const reserve = new Reserve(path);
    assert.equal(reserve.held, false);
    assert.equal(await reserve.restore(), true);
    assert.equal(statSync(path).size, 8 * 2 ** 20);
    reserve.spend();
    assert.equal(reserve.held, false);
    assert.equal(await reserve.restore(), true);
    assert.equal(reserve.held, true);
  });

  test("is made once for those that want it at the same time", async (t) => {
    const reserve = newReserve(t);
    const made = await Promise.all(Array.from({ length: 20 }, () => reserve.restore()));
    assert.deepEqual(made, Array(20).fill(true));
  });
});
