import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { configFile } from "../files/repository-layout.js";
import { openCheckpoint } from "../weights/checkpoint.js";
import type { Checkpoint } from "../weights/format.js";
import type { BlockOptions } from "../weights/gguf/checkpoint.js";
import { isSaved, type LostBias, lacksBias, type StoredBits, storedBits } from "../weights/mflux.js";
import { type Origin, originOf } from "../weights/origin.js";
import { openSingleFile } from "../weights/single-file.js";
import { isWeightFile, variantIn } from "../weights/weight-files.js";
import { type ConfigsFromShapes, componentNames, type Family } from "./family.js";
import { denoiserFolder } from "./layout.js";
import { defaultFamily, familyOf } from "./registry.js";

/** The files of a model: where they are, and how the weights are stored. */
export interface ModelFiles {
  readonly family: Family;
  /** The folder with weights and tokenizers. */
  readonly folder: string;
  /** The folder with configs and scheduler: `folder`, or another for a model that mflux saved. */
  readonly configs: string;
  /** The folder with the original transformer weights, if they supply a tensor that mflux lost when saving. */
  readonly original: string | null;
  /** Bits of the transformer's stored matrices; null if they are not quantized. */
  readonly storedBits: StoredBits | null;
  /** Differences from the request or from a usual model, one sentence each. */
  readonly notes: readonly string[];
  /** The model that this one was made from, if mflux-depth saved it. */
  readonly origin: Origin | null;
  /** The denoising network, if it has its own file or is widened; `folder` has the other components. */
  readonly denoiser: DenoiserFile | null;
}

/** A denoising network that replaces the one in the model's folder. */
export interface DenoiserFile {
  readonly path: string;
  /** Its config, derived from the file. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Opens its weights under the network's names. */
  open(options?: BlockOptions): Checkpoint;
}

/**
 * Opens a denoising network in one file, and the folder with the other components: reads configs and file headers.
 * @throws {ModelError} when no family recognises the file, it is damaged, or a component is missing.
 */
export function openDenoiserFile(path: string, folder: string, isBase = false): ModelFiles {
  const family = defaultFamily;
  const hasConfig = existsSync(join(folder, denoiserFolder, configFile));
  const other = readConfig(join(hasConfig ? folder : family.publishedConfigs, denoiserFolder), configFile);
  const checkpoint = openSingleFile(path);
  const config = family.singleFile.configOf(checkpoint, other, isBase);
  const open = (options?: BlockOptions): Checkpoint =>
    family.singleFile.translate(openSingleFile(path, options), config);
  return {
    family,
    folder,
    configs: folder,
    original: null,
    storedBits: null,
    notes: [],
    origin: null,
    denoiser: isBase ? widened(family, { path, config, open }) : { path, config, open },
  };
}

/**
 * Opens the folder of a base model, whose denoising network a control LoRA widens: reads configs and file headers.
 * @throws {ModelError} when it is another model, incomplete or damaged.
 */
export function openBaseFiles(folder: string, variant?: string): ModelFiles {
  const family = defaultFamily;
  const refusal = family.controlLora.baseRefusal(folder);
  if (refusal) throw refusal;
  const path = join(folder, denoiserFolder);
  const config = readConfig(path, configFile);
  const open = (): Checkpoint => openCheckpoint(path, { variant: variantIn(path, variant) });
  return {
    family,
    folder,
    configs: folder,
    original: null,
    storedBits: storedBits(open()),
    notes: [],
    origin: originOf(folder),
    denoiser: widened(family, { path, config, open }),
  };
}

const widened = ({ controlLora }: Family, { path, config, open }: DenoiserFile): DenoiserFile => ({
  path,
  config: controlLora.widenConfig(config, path),
  open: (options) => controlLora.widen(open(options)),
});

/**
 * Opens a model's folder: reads configs and file headers, no weights.
 * @param configFrom a folder with the configs, for a model that mflux saved without them.
 * @param variant the variant of the weights: "fp16".
 * @throws {ModelError} when no family recognises it, it is incomplete or damaged, or the configs belong to another model.
 */
export function openModelFiles(folder: string, configFrom?: string, variant?: string): ModelFiles {
  const weights = join(folder, denoiserFolder);
  const hasConfigs = existsSync(join(weights, configFile));
  // Refuse other models before opening their weights.
  const recognised = hasConfigs || !isFolder(weights) ? familyOf(folder) : null;
  const transformer = openCheckpoint(weights, { variant: variantIn(weights, variant) });
  const notes: string[] = [];
  let family = recognised ?? defaultFamily;
  let configs = folder;
  if (hasConfigs && configFrom !== undefined)
    notes.push(`configFrom ${configFrom} has no effect: the model has its own configs.`);
  else if (!hasConfigs && isSaved(transformer)) {
    configs = configsFor(folder, family, configFrom);
    family = familyOf(folder, configs);
  } else if (!hasConfigs) family = familyOf(folder);

  const { lostBias } = family.components[family.denoising.component]?.savedNames ?? {};
  const lost = lostBias && lacksBias(transformer, lostBias) ? lostBias : null;
  const original = lost && originalOf(configs, lost);
  if (lost) notes.push(noteOf(lost, original));
  return {
    family,
    folder,
    configs,
    original,
    storedBits: storedBits(transformer),
    notes,
    origin: originOf(folder),
    denoiser: null,
  };
}

const noteOf = ({ layer, savedBy }: LostBias, original: string | null): string =>
  original
    ? `${layer}.bias is missing, as in models saved by ${savedBy}: it is read from ${original}.`
    : `${layer}.bias is missing, as in models saved by ${savedBy}: it is replaced by zeros, so images differ from the original model's. Set configFrom to a folder with the original weights to restore it.`;

/**
 * Finds the configs for a model that mflux saved without them.
 * @throws {ModelError} when the configs contradict the shapes of its tensors.
 */
function configsFor(folder: string, family: Family, configFrom: string | undefined): string {
  for (const component of componentNames(family))
    if (!isFolder(join(folder, component)))
      throw new ModelError(folder, `the folder ${component} is missing; copy everything that mflux saved`);
  const fromShapes = family.configsFromShapes(folder);
  const configs = configFrom ?? family.publishedConfigs;
  familyOf(folder, configs);
  const contradiction = findContradiction(fromShapes, configs);
  if (contradiction === null) return configs;
  throw new ModelError(
    folder,
    configFrom !== undefined
      ? `its weights do not match the configs in ${configFrom}: ${contradiction}`
      : `mflux saved it without configs, and its shapes differ from the published ${family.name} (${contradiction})`,
    {
      details: {
        remedies: [
          {
            kind: "set-option",
            option: "configFrom",
            purpose: "name the folder or repository it was made from",
          },
        ],
      },
    },
  );
}

/** Describes the first size that differs between the weights and the configs; null if all agree. */
function findContradiction(fromShapes: ConfigsFromShapes, configs: string): string | null {
  for (const [component, sizes] of Object.entries(fromShapes)) {
    const config = readConfig(join(configs, component), configFile);
    for (const [key, size] of Object.entries(sizes)) {
      const stated = config[key];
      if (stated !== undefined && stated !== null && JSON.stringify(stated) !== JSON.stringify(size))
        return `${key} of ${component} is ${JSON.stringify(size)} in the weights and ${JSON.stringify(stated)} in the config`;
    }
  }
  return null;
}

/** Finds transformer weights next to the configs that have the lost tensor; null if there are none. */
function originalOf(configs: string, { layer }: LostBias): string | null {
  const folder = join(configs, denoiserFolder);
  if (!readdirSync(folder).some(isWeightFile)) return null;
  return openCheckpoint(folder).entries.has(`${layer}.bias`) ? folder : null;
}
