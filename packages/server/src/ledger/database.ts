import Database from "better-sqlite3";
import { ServiceError } from "../errors.js";
import { migrations } from "./migrations.js";

export type Connection = Database.Database;

/**
 * Opens a ledger and brings its schema up to date.
 * @throws {ServiceError} `unavailable` if a newer version made it, or it is damaged.
 */
export function openDatabase(file: string): Connection {
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
    return database;
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

function migrate(database: Connection): void {
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
