import { basename } from "node:path";
import { bundledModel } from "../hub/repository.js";
import { defaultDepthModel } from "../options/defaults.js";
import type { GenerateRequest } from "../options/index.js";
import { depthAnything } from "./descriptions.js";

/**
 * The estimator that judges the images of a request, see {@link judgeFor}.
 * @param options of the model that makes them
 */
export const judgeOfRequest = (
  { depthImage }: Pick<GenerateRequest, "depthImage">,
  { model, depthModel }: { readonly model: string; readonly depthModel?: string | undefined },
): string => judgeFor({ model, depth_model: depthImage ? null : depthModel });

/**
 * An estimator that an image's map did not come from: an estimator would forgive its own mistakes. Only tiny-world's
 * judges itself, because no other knows its rendered scenes without a download.
 * @param parameters of the image, if it has any
 */
export function judgeFor({ model, depth_model: source }: Readonly<Record<string, unknown>> = {}): string {
  if (model === bundledModel) return bundledModel;
  // A folder, of which parameters have the last part, usually has the name of the repository that it holds.
  const cameFromDepthAnything =
    typeof source === "string" &&
    depthAnything.models.some(({ repository }) => basename(repository) === basename(source));
  return cameFromDepthAnything ? defaultDepthModel : depthAnything.models[0].repository;
}
