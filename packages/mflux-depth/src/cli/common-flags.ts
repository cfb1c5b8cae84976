/*
 * Flags that several commands share and that are not options of the library.
 */
import { type FlagValues, pick } from "../command/index.js";
import { type LoadOptions, loadOptions, type OptionSpec, optionsFor } from "../options/index.js";

type BooleanFlag = OptionSpec & { readonly kind: { readonly type: "boolean" } };

/** A flag of every command, handled by `main.ts`. */
export const helpFlag: BooleanFlag = {
  kind: { type: "boolean" },
  text: "Show this text.",
  flags: ["--help", "-h"],
};

/** @param printed what the command prints with the flag: "one JSON object per image instead of its path". */
export const jsonFlag = (printed: string): BooleanFlag => ({
  kind: { type: "boolean" },
  text: `Print ${printed}.`,
  flags: ["--json"],
});

export const quietFlag: BooleanFlag = {
  kind: { type: "boolean" },
  text: "Show no progress.",
  flags: ["--quiet"],
};

export const overwriteFlag: BooleanFlag = {
  kind: { type: "boolean" },
  text: "Replace an existing file; without this flag it stays, and the new one gets _1, _2 and so on added to its name.",
  flags: ["--overwrite"],
};

/** The flags of a generating model: the options of `generate` and their shorthand. */
export const modelFlags = {
  ...optionsFor(loadOptions, "generate"),
  lowRam: {
    kind: { type: "boolean" },
    text: "The same as --memory low.",
    flags: ["--low-ram"],
  } as BooleanFlag,
};

/** Converts model flags to load options. */
export const loadOptionsFrom = ({ lowRam, ...values }: FlagValues<typeof modelFlags>): LoadOptions => ({
  ...pick(values, loadOptions),
  ...(lowRam && { memory: "low" }),
});
