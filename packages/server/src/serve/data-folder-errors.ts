import { OutputError } from "mflux-depth/errors";
import { ServiceError } from "../errors.js";

/** Turns errors of an unusable data folder into ones that the command line reports as a sentence. */
export const inFolder =
  (folder: string) =>
  (error: unknown): never => {
    if (error instanceof ServiceError) throw new OutputError(folder, error.message, { cause: error });
    const { code = "", message } = error as NodeJS.ErrnoException;
    // The codes of the file system and of SQLite.
    if (/^(E[A-Z]+|SQLITE_\w+)$/.test(code)) {
      const reason = message.startsWith(code) ? message : `${message} (${code})`;
      throw new OutputError(folder, `The data folder cannot be used: ${reason}.`, {
        cause: error,
      });
    }
    throw error;
  };
