/** Loads sharp, a library of 20 MB, when the first image is read or written. */
export const codec = async () => (await import("sharp")).default;
