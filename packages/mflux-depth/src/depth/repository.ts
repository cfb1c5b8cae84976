/*
 * Repositories of depth models: at their root, or in the folder of an image model that brings one. Works without MLX.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import type { RepositoryKind } from "../hub/kind.js";
import { FileSelection } from "../weights/file-selection.js";
import { defaultEstimator, estimators } from "./registry.js";

/** The folders in which the repository of an image model may bring a depth model. */
export const estimatorFolders: readonly string[] = estimators.map(({ modelType }) => modelType);

const names = estimators.map(({ name }) => name).join(" or ");

/** Finds the depth model that a repository brings along; null when it has none. */
export function estimatorIn(folder: string): string | null {
  const brought = estimatorFolders.map((name) => join(folder, name));
  return brought.find((candidate) => existsSync(join(candidate, "config.json"))) ?? null;
}

/** Takes the files of a depth model in `folder`, whichever model it is. */
export function takeEstimator(selection: FileSelection, folder: string): void {
  for (const { name, optional = false } of estimators.flatMap(({ files }) => files))
    selection.take(folder, name, { optional });
  selection.takeWeights(folder);
}

/** A repository wanted for its depth model. */
export const estimatorKind: RepositoryKind = {
  name: names,
  needed(files, variant) {
    const selection = new FileSelection(files, variant);
    selection.take("", "model_index.json", { optional: true });
    const brought = estimatorFolders.find((folder) => files.includes(`${folder}/config.json`));
    takeEstimator(selection, files.includes("config.json") ? "" : (brought ?? ""));
    selection.requireVariant();
    return selection;
  },
  check(repository, folder, small) {
    const config = small.find((file) => /(^|\/)config\.json$/.test(file));
    const isPipeline = small.includes("model_index.json");
    // A missing config is reported as a missing file.
    if (config === undefined && !isPipeline) return;
    const type = config && readConfig(folder, config).model_type;
    if (estimators.some(({ modelType }) => modelType === type)) return;
    const what = isPipeline ? "a repository of a diffusion model" : `a model of type ${type}`;
    throw new ModelError(repository, `this is ${what}, not ${names}; ${defaultEstimator.repository} is`);
  },
};
