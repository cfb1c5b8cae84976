import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import Database from "better-sqlite3";
import { StatementCache } from "../../src/ledger/statement-cache.js";

/** A cache, and the texts that were prepared. */
function start(t: TestContext): { cache: StatementCache; prepared: string[] } {
  const database = new Database(":memory:");
  t.after(() => database.close());
  const prepared: string[] = [];
  const prepare = database.prepare.bind(database);
  t.mock.method(database, "prepare", (sql: string) => {
    prepared.push(sql);
    return prepare(sql);
  });
  return { cache: new StatementCache(database), prepared };
}

describe("prepared statements", () => {
  test("are prepared once for each text", (t) => {
    const { cache, prepared } = start(t);
    assert.equal(cache.rows("SELECT 1 AS a"), cache.rows("SELECT 1 AS a"));
    cache.rows("SELECT 2 AS a");
    assert.deepEqual(prepared, ["SELECT 1 AS a", "SELECT 2 AS a"]);
  });

  test("of one text give rows or a column, as they are asked for", (t) => {
    const { cache } = start(t);
    for (let times = 0; times < 2; times++) {
      assert.equal(cache.column("SELECT 1 AS a").get(), 1);
      assert.deepEqual(cache.rows("SELECT 1 AS a").get(), { a: 1 });
    }
  });

  test("go when there are too many, those first that were not used for longest", (t) => {
    const { cache, prepared } = start(t);
    const used = "SELECT 0 AS used";
    const unused = "SELECT 0 AS unused";
    cache.rows(unused);
    for (let number = 0; number < 1000; number++) {
      assert.deepEqual(cache.rows(used).get(), { used: 0 });
      assert.equal(cache.column(`SELECT ${number}`).get(), number);
      cache.rows(`SELECT ${number}`);
    }
    assert.equal(prepared.filter((sql) => sql === used).length, 1);
    cache.rows(unused);
    assert.equal(prepared.filter((sql) => sql === unused).length, 2);
  });
});
