import { mostPixels } from "mflux-depth/options";

/** The maximum sizes of a request. */
export const limits = {
  pictureBytes: 64 * 2 ** 20,
  picturePixels: mostPixels,
  promptCharacters: 4000,
  jsonBytes: 96 * 2 ** 20,
  fileParts: 8,
} as const;
