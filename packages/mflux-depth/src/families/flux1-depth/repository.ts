/*
 * Which files of a repository FLUX.1 Depth needs, chosen by their names.
 */
import { takeBroughtEstimator } from "../../depth/repository.js";
import type { RepositoryKind } from "../../hub/kind.js";
import { FileSelection } from "../../weights/file-selection.js";
import { componentNames } from "../family.js";
import { mfluxFirstShard, modelFolders, tokenizerFolders } from "./layout.js";
import { refusal, requireNotCannyName } from "./recognise.js";

const schedulerConfig = "scheduler_config.json";

/** A whole model, with the depth estimator that it may bring. */
export const modelKind: RepositoryKind = {
  name: "FLUX.1 Depth",
  folders: modelFolders,
  probe: "transformer/config.json",
  needed(names, variant) {
    const selection = new FileSelection(names, variant);
    if (names.some((name) => /^(model_index\.json|transformer\/)/.test(name))) takeModel(selection);
    else {
      // Another kind of model: its config tells which.
      selection.take("", "config.json", { optional: true });
      selection.missing.push("model_index.json");
    }
    selection.requireVariant();
    return selection;
  },
  checkName: requireNotCannyName,
  check(_, folder, small) {
    // A folder saved by mflux does not say what it is.
    const saysKind = small.some((file) => /^(model_index|config|transformer\/config)\.json$/.test(file));
    const reason = saysKind ? refusal(folder) : null;
    if (reason) throw reason;
  },
};

/** The configs alone, for a model that mflux saved without them. */
export const configsKind: RepositoryKind = {
  name: "FLUX.1 configs",
  needed(names) {
    const selection = new FileSelection(names, undefined);
    selection.take("", "model_index.json", { optional: true });
    for (const folder of componentNames) selection.take(folder, "config.json");
    selection.take("scheduler", schedulerConfig);
    return selection;
  },
};

function takeModel(selection: FileSelection): void {
  for (const name of selection.inside("").filter(isConfig)) selection.take("", name);
  const hasNoConfigs = selection.inside("transformer").includes(mfluxFirstShard);
  for (const folder of componentNames) {
    for (const name of selection.inside(folder).filter(isConfig)) selection.take(folder, name);
    const hasConfig = selection.small.includes(`${folder}/config.json`);
    selection.take(folder, "config.json", { optional: hasNoConfigs || hasConfig });
    selection.takeWeights(folder);
  }
  selection.take("scheduler", schedulerConfig, { optional: hasNoConfigs });
  for (const folder of tokenizerFolders) takeTokenizer(selection, folder);
  takeBroughtEstimator(selection);
}

function takeTokenizer(selection: FileSelection, folder: (typeof tokenizerFolders)[number]): void {
  const isWhole = selection.inside(folder).includes("tokenizer.json");
  if (isWhole || folder === "tokenizer_2") selection.take(folder, "tokenizer.json");
  else for (const name of ["vocab.json", "merges.txt"]) selection.take(folder, name);
  selection.take(folder, "tokenizer_config.json");
  selection.take(folder, "special_tokens_map.json", { optional: true });
}

const isConfig = (name: string): boolean => name.endsWith(".json") && !/\.index\b.*\.json$/.test(name);
