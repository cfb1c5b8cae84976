import { basename } from "node:path";
import { bundledModel } from "../hub/repository.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { GenerateRequest } from "../options/index.js";
import { depthAnything } from "./descriptions.js";

/**
 * Chooses the estimator that judges the images of a request, see {@link judgeFor}.
 * @param options of the model that makes them
 */
export const judgeOfRequest = (
  { depthImage }: Pick<GenerateRequest, "depthImage">,
  { model, depthModel }: { readonly model: string; readonly depthModel?: string | undefined },
): string => judgeFor({ model, depth_model: depthImage ? null : depthModel });

/**
 * Chooses an estimator other than the source of the image's map, because an estimator would repeat its own mistakes.
 * The exception is tiny-world, which judges itself: any other estimator for its rendered scenes needs a download.
 * @param parameters of the image, if it has any
 */
export function judgeFor({ model, depth_model: source }: Readonly<Record<string, unknown>> = {}): string {
  if (model === bundledModel) return bundledModel;
  // Parameters contain only the last part of a folder's path, which is usually the name of its repository.
  const cameFromDepthAnything =
    typeof source === "string" &&
    depthAnything.models.some(({ repository }) => basename(repository) === basename(source));
  return cameFromDepthAnything ? defaultDepthModel : depthAnything.models[0].repository;
}
