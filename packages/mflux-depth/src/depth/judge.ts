import { bundledModel } from "../hub/repository.js";
import { defaultDepthModel } from "../options/defaults.js";
import { depthAnything } from "./descriptions.js";

/**
 * An estimator that an image's map did not come from: an estimator would forgive its own mistakes. Only tiny-world's
 * judges itself, because no other knows its rendered scenes without a download.
 * @param parameters of the image, if it has any
 */
export function judgeFor(parameters: Readonly<Record<string, unknown>> | undefined): string {
  if (parameters?.model === bundledModel) return bundledModel;
  const cameFromDepthAnything = depthAnything.models.some(
    ({ repository }) => repository === parameters?.depth_model,
  );
  return cameFromDepthAnything ? defaultDepthModel : depthAnything.models[0].repository;
}
