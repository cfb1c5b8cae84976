import { basename } from "node:path";
import { bundledEstimator, bundledModel } from "../hub/repository.js";
import type { GenerateRequest } from "../options/index.js";
import { depthAnything, depthPro, type EstimatorDescription, estimatorDescriptions } from "./descriptions.js";

/** The estimators that judge, the preferred one first. A new estimator need not be one of them. */
const judges = [
  { estimator: depthAnything, bundled: bundledEstimator },
  { estimator: depthPro, bundled: bundledModel },
] as const;

/**
 * Chooses the estimator that judges the images of a request, see {@link judgeFor}.
 * @param options of the model that makes them
 */
export const judgeOfRequest = (
  { depthImage }: Pick<GenerateRequest, "depthImage">,
  { model, depthModel }: { readonly model: string; readonly depthModel?: string | undefined },
): string => judgeFor({ model, depth_model: depthImage ? null : depthModel });

/**
 * Chooses the first judge other than the source of the image's map, because an estimator would repeat its own mistakes.
 * Images of tiny-world are judged by the bundled estimators, which know its rendered scenes and need no download.
 * @param parameters of the image, if it has any
 */
export function judgeFor({ model, depth_model: source }: Readonly<Record<string, unknown>> = {}): string {
  const known = typeof source === "string" && estimatorOf(source);
  const { estimator, bundled } = judges.find((judge) => judge.estimator !== known)!;
  return model === bundledModel ? bundled : estimator.models[0].repository;
}

/** Parameters contain only the last part of a folder's path, which is usually the name of its repository. */
const estimatorOf = (source: string): EstimatorDescription | undefined =>
  estimatorDescriptions.find(({ models }) =>
    models.some(({ repository }) => basename(repository) === basename(source)),
  );
