import { ModelError } from "../errors.js";
import { schedulerConfigFile } from "../files/repository-layout.js";
import type { ResolvedRequest } from "../options/index.js";
import type { LatentGrid } from "../sampling/latents.js";
import { startIndex } from "../sampling/schedule.js";
import type { Model } from "./model/model.js";

/**
 * The noise levels that a generation follows, one more than it has steps: fewer if it starts from a photo.
 * @throws {ModelError} when the model's schedule gives none for this size.
 */
export function noiseLevelsOf(
  { steps, imageStrength }: Pick<ResolvedRequest, "steps" | "imageStrength">,
  { rows, columns }: LatentGrid,
  { folder, family, configs }: Pick<Model, "folder" | "family" | "configs">,
): Float32Array {
  try {
    return family.schedule.sigmas(steps, rows * columns, configs).subarray(startIndex(steps, imageStrength));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(folder, `${schedulerConfigFile}: ${error.message}`, { cause: error });
  }
}
