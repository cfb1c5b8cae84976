/**
 * Text in the form in which it is compared: whatever its case, width and composition. SQLite itself only knows ASCII.
 */
export const searchText = (text: string): string =>
  // Upper case first unites what has several lower cases: ß and ss, the two sigmas.
  text.normalize("NFKC").toUpperCase().toLowerCase().replaceAll("ς", "σ").normalize("NFKC");

/** The words of a search. A job is found if its text contains all of them. */
export const searchWords = (query: string): readonly string[] =>
  searchText(query)
    .split(/\s+/u)
    .filter((word) => word !== "");
