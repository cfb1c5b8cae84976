import type { Readable, Writable } from "node:stream";

/** The process's streams, environment and signal; tests and other hosts pass their own. */
export interface Io {
  readonly stdin: Readable;
  /** Results. */
  readonly stdout: Writable;
  /** Progress, warnings and errors. */
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C. Commands stop within milliseconds and leave no partial files. */
  readonly signal: AbortSignal;
}

/** A command: a file in `cli/` or another package, listed with its name and summary in `cli/main.ts`. */
export interface Command {
  /** The full text of `--help`. */
  readonly usage: string;
  /**
   * Runs with the arguments after the command's name. Errors are thrown; `cli/main.ts` prints them and chooses the code.
   * @returns the exit code, 0 when undefined.
   */
  run(argv: readonly string[], io: Io): Promise<number | undefined>;
}
