/*
 * The sample scenes, which come with the page.
 */

/** Reads a sample scene as a file. */
export async function fetchSample(url: string, name: string): Promise<File> {
  const bytes = await (await fetch(url)).blob();
  return new File([bytes], `${name}.jpg`, { type: "image/jpeg" });
}
