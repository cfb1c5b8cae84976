import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import type { RepositoryKind } from "../hub/kind.js";
import { defaultDepthModel } from "../options/defaults.js";
import { FileSelection } from "../weights/file-selection.js";

/** The folder in which a model's repository may bring a depth estimator of its own. */
export const depthFolder = "depth_pro";

/** Finds the depth estimator that a model's repository brings along; null when it has none. */
export function estimatorIn(folder: string): string | null {
  const own = join(folder, depthFolder);
  return existsSync(join(own, "config.json")) ? own : null;
}

/** Takes the files of a depth estimator in `folder`. */
export function takeEstimator(selection: FileSelection, folder: string): void {
  selection.take(folder, "config.json");
  selection.take(folder, "preprocessor_config.json", { optional: true });
  selection.takeWeights(folder);
}

/** A repository wanted for its depth estimator: at its root, or in the folder of a model that brings one. */
export const estimatorKind: RepositoryKind = {
  name: "Depth Pro",
  needed(names, variant) {
    const selection = new FileSelection(names, variant);
    selection.take("", "model_index.json", { optional: true });
    const isBrought = !names.includes("config.json") && names.includes(`${depthFolder}/config.json`);
    takeEstimator(selection, isBrought ? depthFolder : "");
    selection.requireVariant();
    return selection;
  },
  check(repository, folder, small) {
    const config = small.find((file) => /(^|\/)config\.json$/.test(file));
    const isPipeline = small.includes("model_index.json");
    // A missing config is reported as such.
    if (config === undefined && !isPipeline) return;
    const type = config && readConfig(folder, config).model_type;
    if (type === "depth_pro") return;
    const what = isPipeline ? "a repository of a diffusion model" : `a model of type ${type}`;
    throw new ModelError(repository, `this is ${what}, not Depth Pro; ${defaultDepthModel} is`);
  },
};
