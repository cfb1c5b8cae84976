import Database = require("better-sqlite3");

import { ServiceError } from "../errors.js";
import { migrations } from "./migrations.js";
import { StatementCache } from "./statement-cache.js";

/** More pages than any database has. */
const allPages = 2 ** 31 - 1;

/** The open database of a ledger. Statements are prepared once for each text. */
export class Connection {
  readonly #database: Database.Database;
  readonly #statements: StatementCache;
  readonly #transaction: Database.Transaction<(work: () => unknown) => unknown>;

  private constructor(database: Database.Database) {
    this.#database = database;
    this.#statements = new StatementCache(database);
    this.#transaction = database.transaction((work) => work());
  }

  /**
   * Opens a ledger and brings its schema up to date.
   * @throws {ServiceError} `unavailable` if a newer version made it, or it is damaged.
   */
  static open(file: string): Connection {
    const database = new Database(file, { timeout: 5000 });
    try {
      database.pragma("journal_mode = WAL");
      // A commit that was reported must survive a loss of power.
      database.pragma("synchronous = FULL");
      if (process.platform === "darwin") {
        database.pragma("fullfsync = ON");
        database.pragma("checkpoint_fullfsync = ON");
      }
      database.pragma("foreign_keys = ON");
      migrate(database);
      return new Connection(database);
    } catch (error) {
      database.close();
      if ((error as { code?: string }).code?.match(/^SQLITE_(CORRUPT|NOTADB)/))
        throw new ServiceError(
          "unavailable",
          "The ledger of this data folder is damaged; restore a backup, or choose another data folder.",
          { cause: error },
        );
      throw error;
    }
  }

  /** A statement whose rows are objects. */
  prepare(sql: string): Database.Statement {
    return this.#statements.rows(sql);
  }

  /** A statement that returns only the first column of each row. */
  prepareColumn(sql: string): Database.Statement {
    return this.#statements.column(sql);
  }

  /** Does some work in a transaction that may write from its start. @throws what `work` throws, after a rollback. */
  transaction<T>(work: () => T): T {
    return this.#transaction.immediate(work) as T;
  }

  /** Writes a consistent copy while others read and write. */
  async copyTo(file: string): Promise<void> {
    // In one go: a copy in parts begins again with every write of another process, and might never end.
    await this.#database.backup(file, { progress: () => allPages });
  }

  close(): void {
    this.#database.close();
  }
}

function migrate(database: Database.Database): void {
  const version = database.pragma("user_version", { simple: true }) as number;
  if (version > migrations.length)
    throw new ServiceError(
      "unavailable",
      `A newer version made this data folder (its ledger has version ${version}; this one knows ${migrations.length}); update, or choose another data folder.`,
    );
  for (const [index, sql] of migrations.entries()) {
    if (index < version) continue;
    database.transaction(() => {
      database.exec(sql);
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}
