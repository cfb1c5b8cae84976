import { ImageError } from "../errors.js";
import { FileReadError } from "../files/read.js";

/** The maximum size of an image file in bytes. */
export const largestFile = 1e9;

/** The error for a user whose image file could not be read. */
export function imageFileError(path: string, error: unknown): unknown {
  if (!(error instanceof FileReadError)) return error;
  const isMissing = error.problem === "missing";
  const reasons: Partial<Record<typeof error.problem, string>> = {
    folder: "is a folder, not an image.",
    "too-large": "is larger than 1 GB, too large for an image.",
  };
  return new ImageError(path, reasons[error.problem] ?? `${error.message}.`, {
    cause: error,
    code: isMissing ? "image-not-found" : "image-unusable",
  });
}
