import type { Readable, Writable } from "node:stream";

/** What a command may touch of the process; tests and other hosts give their own. */
export interface Io {
  readonly stdin: Readable;
  /** Results. */
  readonly stdout: Writable;
  /** Progress, warnings and errors. */
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C; commands stop within milliseconds and leave no half file. */
  readonly signal: AbortSignal;
}

/** One command of the command line; each is a file in this folder, listed in `main.ts`. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** The whole text of `--help`. */
  readonly usage: string;
  /**
   * Runs with the arguments after the command's name. Errors are thrown; `main.ts` prints them and chooses the code.
   * @returns the exit code, 0 when nothing is returned.
   */
  run(argv: readonly string[], io: Io): Promise<number | undefined>;
}
