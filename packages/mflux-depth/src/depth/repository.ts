import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { configFile, modelIndexFile } from "../files/repository-layout.js";
import type { RepositoryKind } from "../hub/kind.js";
import { defaultDepthModel } from "../options/defaults.js";
import { FileSelection } from "../weights/file-selection.js";
import { type EstimatorDescription, estimatorDescriptions, knownEstimators } from "./descriptions.js";

/** Finds the depth estimator included in a model's repository, in a folder named after its type; null if none. */
export function estimatorIn(folder: string): string | null {
  const candidates = estimatorDescriptions.map(({ modelType }) => join(folder, modelType));
  return candidates.find((candidate) => existsSync(join(candidate, configFile))) ?? null;
}

/**
 * The name of the estimator in a downloaded repository, at its root or included in a model: "Depth Pro".
 * @throws {ModelError} when its config is damaged.
 */
export function estimatorNameIn(folder: string): string {
  const { model_type: type } = readConfig(estimatorIn(folder) ?? folder, configFile);
  return estimatorDescriptions.find(({ modelType }) => modelType === type)?.name ?? String(type);
}

/** The estimator included in a model's repository, determined by the repository's files. */
const broughtBy = (selection: FileSelection): EstimatorDescription | undefined =>
  estimatorDescriptions.find(({ modelType }) => selection.inside(modelType).includes(configFile));

/** Selects the files of the depth estimator included in a model's repository, if there is one. */
export function takeBroughtEstimator(selection: FileSelection): void {
  const estimator = broughtBy(selection);
  if (estimator) takeEstimator(selection, estimator.modelType, estimator.files);
}

function takeEstimator(selection: FileSelection, folder: string, files: EstimatorDescription["files"]): void {
  selection.take(folder, configFile);
  for (const { name, optional = false } of files) selection.take(folder, name, { optional });
  selection.takeWeights(folder);
}

/** The files of every known estimator, all optional, for a repository whose config has not been read yet. */
const filesOfAny: EstimatorDescription["files"] = estimatorDescriptions.flatMap(({ files }) =>
  files.map(({ name }) => ({ name, optional: true })),
);

/** A repository wanted for its depth estimator, at its root or included in a model. */
export const estimatorKind: RepositoryKind = {
  name: knownEstimators,
  needed(names, variant) {
    const selection = new FileSelection(names, variant);
    selection.take("", modelIndexFile, { optional: true });
    if (names.includes(configFile) || !broughtBy(selection)) takeEstimator(selection, "", filesOfAny);
    else takeBroughtEstimator(selection);
    selection.requireVariant();
    return selection;
  },
  check(repository, folder, small) {
    const config = small.find((file) => /(^|\/)config\.json$/.test(file));
    const isPipeline = small.includes(modelIndexFile);
    // Loading reports a missing config.
    if (config === undefined && !isPipeline) return;
    const type = config && readConfig(folder, config).model_type;
    if (estimatorDescriptions.some(({ modelType }) => modelType === type)) return;
    const what = isPipeline ? "a repository of a diffusion model" : `a model of type ${type}`;
    throw new ModelError(
      repository,
      `this is ${what}; expected a depth estimator such as ${defaultDepthModel}`,
    );
  },
};
