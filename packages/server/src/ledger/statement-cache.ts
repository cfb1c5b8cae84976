import type { Database, Statement } from "better-sqlite3";

/** More than the code contains; only the filters for job lists build SQL dynamically. */
const most = 200;

/** Prepared statements by their text. When there are too many, the least recently used are dropped. */
export class StatementCache {
  readonly #database: Database;
  /** From the least to the most recently used. */
  readonly #rows = new Map<string, Statement>();
  readonly #columns = new Map<string, Statement>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** A statement whose rows are objects. */
  rows(sql: string): Statement {
    return cached(this.#rows, sql, () => this.#database.prepare(sql));
  }

  /** A statement whose rows are their first columns. */
  column(sql: string): Statement {
    return cached(this.#columns, sql, () => this.#database.prepare(sql).pluck());
  }
}

function cached(known: Map<string, Statement>, sql: string, prepare: () => Statement): Statement {
  const statement = known.get(sql) ?? prepare();
  known.delete(sql);
  known.set(sql, statement);
  if (known.size > most) known.delete(known.keys().next().value!);
  return statement;
}
