import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isFolder } from "../files/folders.js";
import { configFile } from "../files/repository-layout.js";
import type { Identification } from "../hub/cached-models.js";
import { missingFiles } from "../hub/kind.js";
import { variantsAmong } from "../weights/weight-files.js";
import type { Denoising, Family } from "./family.js";
import { families } from "./registry.js";

export type Candidate = Pick<Family, "id" | "kind" | "isCandidate" | "refusal"> & {
  readonly denoising: Pick<Denoising, "component">;
};

/**
 * Identifies the family of a model in the cache, and whether it is complete. A folder that looks like an incomplete
 * model of one family may be a complete model of another.
 */
export function identifyModel(folder: string, candidates: readonly Candidate[] = families): Identification {
  const states = candidates.map((family) => ({ family, state: stateOf(folder, family) }));
  const whole = states.find(({ state }) => state === "whole");
  if (whole) return { state: "whole", family: whole.family.id };
  if (states.some(({ state }) => state === "partial")) return { state: "partial" };
  return { state: "whole", family: null };
}

/** Whether a folder holds a complete model of a family, part of one, or a model of another family. */
function stateOf(folder: string, family: Candidate): "whole" | "partial" | "other" {
  if (!family.isCandidate(folder)) return "other";
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (name) => existsSync(join(folder, name)) && !isFolder(join(folder, name)),
  );
  const isWhole = [undefined, ...variantsAmong(names)].some(
    (variant) => missingFiles(folder, family.kind, variant).length === 0,
  );
  if (!isWhole) return "partial";
  // A model saved by mflux has no configs that could contradict this.
  const hasConfigs = existsSync(join(folder, family.denoising.component, configFile));
  return !hasConfigs || family.refusal(folder) === null ? "whole" : "other";
}
