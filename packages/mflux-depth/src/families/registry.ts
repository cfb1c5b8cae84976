import type { ModelError } from "../errors.js";
import type { Family } from "./family.js";
import { flux1Depth } from "./flux1-depth/index.js";

/** Every model family. The first is the one that messages explain when a folder belongs to none. */
export const families: readonly [Family, ...Family[]] = [flux1Depth];

/** The family whose files are downloaded when only a repository's name is known. */
export const defaultFamily: Family = families[0];

/**
 * Recognises the family of a model's folder, from file names and configs.
 * @param configs the folder with configs and scheduler, where they are not next to the weights.
 * @throws {ModelError} when it belongs to none, explaining why it is not of the default family.
 */
export function familyOf(folder: string, configs?: string): Family {
  let refusal: ModelError | null = null;
  for (const family of families) {
    const reason = family.refusal(folder, configs);
    if (reason === null) return family;
    refusal ??= reason;
  }
  throw refusal!;
}
