import { extname } from "node:path";
import { OptionError } from "../errors.js";
import { formatOf } from "../images/encode.js";
import {
  checkOption,
  checkOptions,
  depthOptions,
  type GivenOptions,
  type ResolvedOptions,
  type ValueOfKind,
} from "../options/index.js";
import { checkAdjustments } from "./adjustments.js";

/** Options of the file, except the format, which the file's name may also determine. */
const { format, ...fileOptions } = depthOptions;

export type DepthFormat = ValueOfKind<typeof format.kind>;

/** What a depth file contains, and how. */
export interface DepthFileOptions extends GivenOptions<typeof fileOptions> {}

/**
 * Derives the format from a file name's extension.
 * @param option what gives the name, for the message.
 * @throws {OptionError} for an extension other than .png, .jpg, .jpeg, .webp and .npy.
 */
export function depthFormatOf(path: string, option = "output"): DepthFormat {
  checkOption(option, { type: "text" }, path);
  const extension = extname(path).toLowerCase();
  if (extension === ".npy") return "npy";
  if ([".png", ".jpg", ".jpeg", ".webp"].includes(extension)) return formatOf(path, option);
  throw new OptionError(
    option,
    `${option} must end in .png, .jpg, .jpeg, .webp or .npy, not ${JSON.stringify(path)}.`,
  );
}

/**
 * Checks the options of a file and fills in defaults.
 * @throws {OptionError} when a value is out of range, or the format does not have such an option.
 */
export function checkFileOptions({
  format,
  ...given
}: DepthFileOptions & { format: DepthFormat }): ResolvedOptions<typeof fileOptions> {
  const options = checkOptions(fileOptions, given);
  checkAdjustments(options);
  const { bits, colour, metres } = options;
  if (bits === 16 && (format !== "png" || colour))
    throw new OptionError("bits", "16 bits require a grey PNG.");
  if (format !== "npy" && metres)
    throw new OptionError("metres", "Distances in metres require an array.", {
      details: { remedies: [{ kind: "set-option", option: "format", value: "npy" }] },
    });
  if (format === "npy") requireNoImageOptions(options);
  return options;
}

/** @throws {OptionError} for an option that does not apply to arrays of the model's own numbers. */
function requireNoImageOptions(options: ResolvedOptions<typeof fileOptions>): void {
  for (const name of ["colour", "near", "far", "gamma", "invert"] as const)
    if (options[name] !== fileOptions[name].default)
      throw new OptionError(
        name,
        `An array (.npy) holds the model's own numbers; ${name} applies only to images.`,
      );
}
