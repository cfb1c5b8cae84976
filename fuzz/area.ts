import type { Random } from "./random.js";

/** One hostile input. It survives a structured clone and can be written to files. */
export interface FuzzCase {
  /** The part that was made or damaged. */
  readonly input: Uint8Array;
  /** What else describes the case. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface Limits {
  readonly seconds: number;
  /** Resident memory of the process that runs the case, and of processes that it starts. */
  readonly bytes: number;
}

/** A part of mflux-depth that takes input from outside. */
export interface Area {
  readonly limits: Limits;
  /** Makes the source of cases; runs once, in the process that directs the others. */
  readonly prepare: () => Promise<(random: Random) => FuzzCase>;
  /** Makes the function that runs cases, in the process that can be killed. Its errors are refusals. */
  readonly open: (folder: string) => Promise<(fuzzCase: FuzzCase) => Promise<void>>;
  /** The pieces of an input that can be left out of it; single bytes by default. */
  readonly split?: (input: Uint8Array) => Uint8Array[];
}

/** What a case showed to be wrong, other than an error of the wrong class. */
export class Violation extends Error {}
