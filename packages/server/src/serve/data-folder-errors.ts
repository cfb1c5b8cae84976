import { OutputError } from "mflux-depth/errors";
import { reasonOf } from "../data-folder/reasons.js";
import { ServiceError } from "../errors.js";

/** Turns errors of an unusable data folder into ones that the command line reports as a sentence. */
export const inFolder =
  (folder: string) =>
  (error: unknown): never => {
    if (error instanceof ServiceError) throw new OutputError(folder, error.message, { cause: error });
    const reason = reasonOf(error);
    if (reason === null) throw error;
    throw new OutputError(folder, `The data folder cannot be used: ${reason}; choose another with --data.`, {
      cause: error,
    });
  };
