import { extname } from "node:path";
import { OptionError } from "../errors.js";
import { formatOf } from "../images/encode.js";
import {
  checkOptions,
  depthOptions,
  type GivenOptions,
  type ResolvedOptions,
  type ValueOfKind,
} from "../options/index.js";
import { checkAdjustments } from "./adjustments.js";

/** Options of the file, except the format, which may also come from the file's name. */
const { format, ...fileOptions } = depthOptions;

export type DepthFormat = ValueOfKind<typeof format.kind>;

/** The content of a file with depth. */
export interface DepthFileOptions extends GivenOptions<typeof fileOptions> {}

/**
 * Tells the format from a file name's extension.
 * @throws {OptionError} for an extension other than .png, .jpg, .jpeg, .webp and .npy.
 */
export function depthFormatOf(path: string): DepthFormat {
  const extension = extname(path).toLowerCase();
  if (extension === ".npy") return "npy";
  if ([".png", ".jpg", ".jpeg", ".webp"].includes(extension)) return formatOf(path);
  throw new OptionError(
    "output",
    `output must end in .png, .jpg, .jpeg, .webp or .npy, not ${JSON.stringify(path)}.`,
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

/** @throws {OptionError} for an option that an array of the model's own numbers cannot have. */
function requireNoImageOptions(options: ResolvedOptions<typeof fileOptions>): void {
  for (const name of ["colour", "near", "far", "gamma", "invert"] as const)
    if (options[name] !== fileOptions[name].default)
      throw new OptionError(
        name,
        `An array (.npy) holds the model's own numbers; ${name} applies only to images.`,
      );
}

/** Encodes a two-dimensional array as a NumPy file: version 1.0, little-endian float32, row by row. */
export function toNpy(data: Float32Array, width: number, height: number): Uint8Array {
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`;
  // Magic, version and length take ten bytes. The header ends with a newline at a multiple of 64.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length + 4 * data.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  view.setUint16(8, length, true);
  bytes.set(new TextEncoder().encode(`${dictionary.padEnd(length - 1)}\n`), 10);
  for (const [i, value] of data.entries()) view.setFloat32(10 + length + 4 * i, value, true);
  return bytes;
}
