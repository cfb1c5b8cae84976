/* Selects by name the files of a repository that FLUX.1 Depth needs. */
import { takeBroughtEstimator } from "../../depth/repository.js";
import {
  configFile,
  mergesFile,
  modelIndexFile,
  schedulerConfigFile,
  schedulerFolder,
  specialTokensFile,
  tokenizerConfigFile,
  tokenizerFile,
  vocabularyFile,
} from "../../files/repository-layout.js";
import type { RepositoryKind } from "../../hub/kind.js";
import { FileSelection } from "../../weights/file-selection.js";
import type { FamilyDescription } from "../family.js";
import { componentNames, folders, mfluxFirstShard, modelFolders, tokenizers } from "./layout.js";
import { baseRefusal, refusal, requireNotCannyName } from "./recognise.js";

const transformerConfig = `${folders.transformer}/${configFile}`;

/** A whole model, including a depth estimator if its repository has one. */
const modelKind: RepositoryKind = {
  name: "FLUX.1 Depth",
  folders: modelFolders,
  probe: transformerConfig,
  needed(names, variant) {
    const selection = new FileSelection(names, variant);
    const isPipeline = (name: string): boolean =>
      name === modelIndexFile || name.startsWith(`${folders.transformer}/`);
    if (names.some(isPipeline)) takeModel(selection);
    else {
      // For another kind of model, this config says which.
      selection.take("", configFile, { optional: true });
      selection.missing.push(modelIndexFile);
    }
    selection.requireVariant();
    return selection;
  },
  checkName: requireNotCannyName,
  check(_, folder, small) {
    // A folder saved by mflux has no configs, and its shapes are checked later.
    const saysKind = [modelIndexFile, configFile, transformerConfig].some((file) => small.includes(file));
    const reason = saysKind ? refusal(folder) : null;
    if (reason) throw reason;
  },
};

/** Only the configs, for a model that mflux saved without them. */
const configsKind: RepositoryKind = {
  name: "FLUX.1 configs",
  needed(names) {
    const selection = new FileSelection(names, undefined);
    selection.take("", modelIndexFile, { optional: true });
    for (const folder of componentNames) selection.take(folder, configFile);
    selection.take(schedulerFolder, schedulerConfigFile);
    return selection;
  },
};

/** FLUX.1-dev, which the depth LoRA turns into FLUX.1 Depth. */
const baseKind: RepositoryKind = {
  ...modelKind,
  name: "FLUX.1-dev",
  check(_, folder, small) {
    const saysKind = small.includes(transformerConfig);
    const reason = saysKind ? baseRefusal(folder) : null;
    if (reason) throw reason;
  },
};

/** Everything except the transformer's weights. */
const componentsKind: RepositoryKind = {
  name: "FLUX.1's text encoders and VAE",
  needed(names, variant) {
    const selection = new FileSelection(names, variant);
    takeModel(selection, { denoiser: false });
    return selection;
  },
};

export const flux1DepthDescription = {
  id: "flux1-depth",
  name: "FLUX.1 Depth",
  kind: modelKind,
  baseKind,
  configsKind,
  componentsKind,
} as const satisfies FamilyDescription;

function takeModel(selection: FileSelection, { denoiser = true } = {}): void {
  for (const name of selection.inside("").filter(isConfig)) selection.take("", name);
  const hasNoConfigs = selection.inside(folders.transformer).includes(mfluxFirstShard);
  for (const folder of componentNames) {
    for (const name of selection.inside(folder).filter(isConfig)) selection.take(folder, name);
    const hasConfig = selection.small.includes(`${folder}/${configFile}`);
    const isLeftOut = folder === folders.transformer && !denoiser;
    selection.take(folder, configFile, { optional: hasNoConfigs || hasConfig || isLeftOut });
    if (!isLeftOut) selection.takeWeights(folder);
  }
  selection.take(schedulerFolder, schedulerConfigFile, { optional: hasNoConfigs });
  for (const folder of Object.values(tokenizers)) takeTokenizer(selection, folder);
  takeBroughtEstimator(selection);
}

function takeTokenizer(selection: FileSelection, folder: string): void {
  // CLIP's vocabulary may be in two files instead of one.
  const isWhole = selection.inside(folder).includes(tokenizerFile);
  if (isWhole || folder !== tokenizers.clip) selection.take(folder, tokenizerFile);
  else for (const name of [vocabularyFile, mergesFile]) selection.take(folder, name);
  selection.take(folder, tokenizerConfigFile);
  selection.take(folder, specialTokensFile, { optional: true });
}

const isConfig = (name: string): boolean => name.endsWith(".json") && !/\.index\b.*\.json$/.test(name);
