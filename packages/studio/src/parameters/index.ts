/*
 * The parameters that mflux-depth and mflux write into their images: JSON in EXIF's UserComment.
 */
import { exifOf } from "./containers.js";
import { userCommentOf } from "./exif.js";

/**
 * Reads the parameters of a PNG, JPEG or WebP file.
 * @returns null if the file has none
 */
export function parametersIn(file: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const exif = exifOf(file);
    const comment = exif && userCommentOf(exif);
    const value: unknown = comment ? JSON.parse(comment) : null;
    return isParameters(value) ? value : null;
  } catch {
    // Another program wrote the block, or it is damaged.
    return null;
  }
}

const isParameters = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && "prompt" in value && typeof value.prompt === "string";
