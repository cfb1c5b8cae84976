/*
 * Flags that several commands share and that are not options of the library.
 */
import { type FlagValues, pick } from "../command/index.js";
import { OptionError } from "../errors.js";
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

/**
 * Converts model flags to load options.
 * @throws {OptionError} for flags that contradict each other, or need another one.
 */
export function loadOptionsFrom({ lowRam, ...values }: FlagValues<typeof modelFlags>): LoadOptions {
  if (lowRam && values.memory === "resident")
    throw new OptionError("memory", "Give either --low-ram or --memory resident, not both.", {
      code: "option-conflict",
    });
  requireLoras(values);
  return { ...pick(values, loadOptions), ...(lowRam && { memory: "low" }) };
}

/** @throws {OptionError} for flags about LoRAs without one. */
export function requireLoras({
  loras,
  bakeLora,
  loraLenient,
}: Pick<LoadOptions, "loras" | "bakeLora" | "loraLenient">): void {
  if (loras) return;
  if (bakeLora)
    throw new OptionError("bakeLora", "--bake-lora needs a LoRA to merge; give one with --lora.", {
      code: "option-conflict",
    });
  if (loraLenient)
    throw new OptionError("loraLenient", "--lora-lenient needs a LoRA; give one with --lora.", {
      code: "option-conflict",
    });
}
