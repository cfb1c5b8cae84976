/** Normalizes text for comparison, ignoring case, width and composition. SQLite itself only folds ASCII. */
export const searchText = (text: string): string =>
  // Upper case first, to unite letters with several lower-case forms: ß and ss, the two sigmas.
  text.normalize("NFKC").toUpperCase().toLowerCase().replaceAll("ς", "σ").normalize("NFKC");

/** The words of a search. A job is found if its text contains all of them. */
export const searchWords = (query: string): readonly string[] =>
  searchText(query)
    .split(/\s+/u)
    .filter((word) => word !== "");
