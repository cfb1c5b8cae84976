import { basename } from "node:path";
import { bundledEstimator, bundledModel } from "../hub/repository.js";
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
 * Images of tiny-world are judged by the bundled estimators, which know its rendered scenes and need no download.
 * @param parameters of the image, if it has any
 */
export function judgeFor({ model, depth_model: source }: Readonly<Record<string, unknown>> = {}): string {
  // Parameters contain only the last part of a folder's path, which is usually the name of its repository.
  const cameFromDepthAnything =
    typeof source === "string" &&
    depthAnything.models.some(({ repository }) => basename(repository) === basename(source));
  const [pro, anything] =
    model === bundledModel
      ? [bundledModel, bundledEstimator]
      : [defaultDepthModel, depthAnything.models[0].repository];
  return cameFromDepthAnything ? pro : anything;
}
