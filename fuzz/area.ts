import type { Random } from "./random.js";

/** One hostile input. It survives a structured clone and can be written to files. */
export interface FuzzCase {
  /** The part that was generated or damaged. */
  readonly input: Uint8Array;
  /** The rest of the case's description. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface Limits {
  readonly seconds: number;
  /** Resident memory of the process that runs the case, including processes that it starts. */
  readonly bytes: number;
}

/** A part of mflux-depth that takes external input. */
export interface Area {
  readonly limits: Limits;
  /** Makes the source of cases; runs once, in the controlling process. */
  readonly prepare: () => Promise<(random: Random) => FuzzCase>;
  /** Makes the function that runs cases, in the process that can be killed. Errors that it throws count as refusals. */
  readonly open: (folder: string) => Promise<(fuzzCase: FuzzCase) => Promise<void>>;
  /** Splits an input into pieces that can be left out; single bytes by default. */
  readonly split?: (input: Uint8Array) => Uint8Array[];
}

/** A failure other than an error of the wrong class. */
export class Violation extends Error {}
