/** The maximum sizes of a request. */
export const limits = {
  pictureBytes: 64 * 2 ** 20,
  picturePixels: 100_000_000,
  promptCharacters: 4000,
  jsonBytes: 96 * 2 ** 20,
  fileParts: 8,
} as const;
