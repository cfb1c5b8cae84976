import { ModelError } from "../errors.js";
import { schedulerConfigFile } from "../files/repository-layout.js";
import { type ResolvedRequest, requestOptions } from "../options/index.js";
import type { LatentGrid } from "../sampling/latents.js";
import { startIndex } from "../sampling/schedule.js";
import type { Model } from "./model/model.js";
import type { Generation } from "./stage.js";

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

/**
 * Warns if a generation with a photo begins with noise alone, because the image strength is less than one step. With a mask,
 * the photo has its effect around the masked part.
 */
export function warnIfPhotoIsUnused({ request, warnings }: Pick<Generation, "request" | "warnings">): void {
  const { steps, imageStrength, maskImage } = request;
  if (imageStrength === 0 || maskImage !== undefined || startIndex(steps, imageStrength) > 0) return;
  const strength = Math.ceil(100 / steps) / 100;
  const enough = Math.ceil(1 / imageStrength);
  warnings.add({
    message: `The image does not start from the photo: an image strength of ${imageStrength} is less than one of ${steps} ${steps === 1 ? "step" : "steps"}.`,
    remedies: [
      // At strength 1, no step would be left.
      ...(strength < 1
        ? [
            {
              kind: "set-option",
              option: "imageStrength",
              value: strength,
              purpose: "keep the number of steps",
            } as const,
          ]
        : []),
      ...(enough <= requestOptions.steps.kind.max
        ? [{ kind: "set-option", option: "steps", value: enough, purpose: "keep the strength" } as const]
        : []),
    ],
  });
}
