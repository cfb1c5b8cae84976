import { join } from "node:path";

import Database = require("better-sqlite3");

import { ServiceError } from "../errors.js";

/**
 * Locks a data folder. It uses SQLite's lock on an empty database, which works on every platform and which the
 * operating system releases however the process ends.
 * @returns a function that releases the lock.
 * @throws {ServiceError} `unavailable` if another process holds it.
 */
export function lockFolder(folder: string): () => void {
  const database = new Database(join(folder, "lock"), { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if ((error as { code?: string }).code?.startsWith("SQLITE_BUSY"))
      throw new ServiceError(
        "unavailable",
        "Another server uses this data folder; stop it, or choose another data folder.",
        { cause: error },
      );
    throw error;
  }
  return () => database.close();
}
