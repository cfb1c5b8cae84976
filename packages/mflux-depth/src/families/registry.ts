import { ModelError } from "../errors.js";
import type { AdapterFile } from "../weights/adapters/adapter-file.js";
import { type FamilyId, familyDescriptions } from "./descriptions.js";
import type { ControlFamily, Family } from "./family.js";
import { flux1Depth } from "./flux1-depth/index.js";

const byId: Readonly<Record<FamilyId, Family>> = {
  "flux1-depth": flux1Depth,
};

/** All model families, in the order of their descriptions. */
export const families: readonly Family[] = familyDescriptions.map(({ id }) => byId[id]);

/**
 * Asks the families in their order, and returns the first answer.
 * @param ask throws a {@link ModelError} if the family refuses.
 * @throws {ModelError} the refusal of the first family if all refuse.
 */
export function firstOf<Answer>(asked: readonly Family[], ask: (family: Family) => Answer): Answer {
  let refusal: ModelError | null = null;
  for (const family of asked)
    try {
      return ask(family);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      refusal ??= error;
    }
  throw refusal!;
}

/**
 * Recognises the family of a model from its file names and configs.
 * @throws {ModelError} when it belongs to none; the message explains why it does not belong to the first family.
 */
export const familyOf = (folder: string): Family =>
  firstOf(families, (family) => {
    const refusal = family.refusal(folder);
    if (refusal) throw refusal;
    return family;
  });

/** Finds the family to whose base model a LoRA adds control; null for other LoRAs. */
export const controlFamilyOf = (file: AdapterFile): ControlFamily | null =>
  families.find((family): family is ControlFamily => family.controlLora?.matches(file) ?? false) ?? null;
