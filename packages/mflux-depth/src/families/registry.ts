import type { ModelError } from "../errors.js";
import { type FamilyId, familyDescriptions } from "./descriptions.js";
import type { Family } from "./family.js";
import { flux1Depth } from "./flux1-depth/index.js";

const byId: Readonly<Record<FamilyId, Family>> = {
  "flux1-depth": flux1Depth,
};

/** All model families, in the order of their descriptions. */
export const families: readonly Family[] = familyDescriptions.map(({ id }) => byId[id]);

/** The family assumed for a model of which only the name or the weights are known. */
export const defaultFamily: Family = byId[familyDescriptions[0].id];

/**
 * Recognises the family of a model from its file names and configs.
 * @param configs the folder with configs and scheduler, if they are not next to the weights.
 * @throws {ModelError} when it belongs to none; the message explains why it does not belong to the default family.
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
