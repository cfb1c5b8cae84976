import { extname } from "node:path";
import { OptionError } from "../errors.js";
import { formatOf } from "../images/encode.js";
import { checkAdjustments, type MapAdjustments } from "./adjustments.js";

export type DepthFormat = "png" | "jpeg" | "webp" | "npy";

/** What to write into a file. */
export interface DepthFileOptions extends MapAdjustments {
  /** Bits per pixel of a grey PNG (default 8). */
  readonly bits?: 8 | 16;
  /** Write colours to look at. */
  readonly colour?: boolean;
  /** Write distances in metres into an array, instead of the prediction. */
  readonly metres?: boolean;
}

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

/** @throws {OptionError} when the format has no such option, or a value is out of range. */
export function checkFileOptions(options: DepthFileOptions & { format: DepthFormat }): void {
  const { format, bits = 8, colour = false, metres = false, ...adjustments } = options;
  checkAdjustments(adjustments);
  if (bits !== 8 && bits !== 16) throw new OptionError("bits", `bits must be 8 or 16, not ${bits}.`);
  if (bits === 16 && (format !== "png" || colour))
    throw new OptionError("bits", `16 bits are only for grey PNG files${colour ? ", not for colours" : ""}.`);
  if (format === "npy" && colour)
    throw new OptionError("colour", "An array (.npy) has no colours; write an image instead.");
  if (format !== "npy" && metres)
    throw new OptionError("metres", "Metres are for arrays: give the output the extension .npy.");
  const { near = 100, far = 0, gamma = 1, invert = false } = adjustments;
  if (format === "npy" && (near !== 100 || far !== 0 || gamma !== 1 || invert))
    throw new OptionError(
      "near",
      "An array (.npy) holds the model's own numbers; near, far, gamma and invert are only for images.",
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
