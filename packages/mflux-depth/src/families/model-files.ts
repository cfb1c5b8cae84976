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
import { type ConfigsFromShapes, type ControlFamily, componentNames, type Family } from "./family.js";
import { families, familyOf, firstOf } from "./registry.js";

/** The files of a model: where they are, and how the weights are stored. */
export interface ModelFiles {
  readonly family: Family;
  /** The folder with weights and tokenizers. */
  readonly folder: string;
  /** The folder with configs and scheduler: `folder`, or another for a model that mflux saved. */
  readonly configs: string;
  /** The folder with the original weights of the denoising network, if they supply a tensor that mflux lost when saving. */
  readonly original: string | null;
  /** Bits of the denoising network's stored matrices; null if they are not quantized. */
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
 * @param base the family whose control LoRA widens it.
 * @throws {ModelError} when no family recognises the file, it is damaged, or a component is missing.
 */
export function openDenoiserFile(
  path: string,
  folder: string,
  base: ControlFamily | null = null,
): ModelFiles {
  const { family, config, translate } = recogniseFile(openSingleFile(path), { folder, base });
  const open = (options?: BlockOptions): Checkpoint => translate(openSingleFile(path, options));
  const denoiser = { path, config, open };
  return {
    family,
    folder,
    configs: folder,
    original: null,
    storedBits: null,
    notes: [],
    origin: null,
    denoiser: base ? widened(base, denoiser) : denoiser,
  };
}

/**
 * Recognises the family of a denoising network in one file.
 * @param options.folder the model with the other components; by default, the published one.
 * @param options.base the only family to consider, whose base model it must be.
 * @throws {ModelError} when no family recognises it.
 */
export function recogniseFile(
  checkpoint: Checkpoint,
  { folder, base = null }: { folder?: string; base?: ControlFamily | null } = {},
): {
  family: Family;
  config: DenoiserFile["config"];
  translate: (checkpoint: Checkpoint) => Checkpoint;
} {
  return firstOf(base ? [base] : families, (family) => {
    const { denoising, publishedConfigs, singleFile } = family;
    if (!singleFile) throw new ModelError(checkpoint.source, `${family.name} is not read from one file`);
    const own = folder === undefined ? null : join(folder, denoising.component);
    const folderOfConfig =
      own !== null && existsSync(join(own, configFile)) ? own : join(publishedConfigs, denoising.component);
    const other = readConfig(folderOfConfig, configFile);
    const config = singleFile.configOf(checkpoint, other, base !== null);
    return { family, config, translate: (stored) => singleFile.translate(stored, config) };
  });
}

/**
 * Opens the folder of a base model, whose denoising network a control LoRA widens: reads configs and file headers.
 * @param family the family that the LoRA is for.
 * @throws {ModelError} when it is another model, incomplete or damaged.
 */
export function openBaseFiles(folder: string, family: ControlFamily, variant?: string): ModelFiles {
  const refusal = family.controlLora.baseRefusal(folder);
  if (refusal) throw refusal;
  const path = join(folder, family.denoising.component);
  const config = readConfig(path, configFile);
  const open = (): Checkpoint => openNetwork(path, variant);
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

const widened = ({ controlLora }: ControlFamily, { path, config, open }: DenoiserFile): DenoiserFile => ({
  path,
  config: controlLora.widenConfig(config, path),
  open: (options) => controlLora.widen(open(options)),
});

const openNetwork = (folder: string, variant: string | undefined): Checkpoint =>
  openCheckpoint(folder, { variant: variantIn(folder, variant) });

/**
 * Opens a model's folder: reads configs and file headers, no weights.
 * @param configFrom a folder with the configs, for a model that mflux saved without them.
 * @param variant the variant of the weights: "fp16".
 * @throws {ModelError} when no family recognises it, it is incomplete or damaged, or the configs belong to another model.
 */
export function openModelFiles(folder: string, configFrom?: string, variant?: string): ModelFiles {
  const savedBy = families.filter(({ denoising }) => lacksConfig(join(folder, denoising.component), variant));
  const [family, configs] =
    savedBy.length > 0
      ? firstOf(savedBy, (one) => [one, configsFor(folder, one, configFrom)] as const)
      : ([familyOf(folder), folder] as const);
  const { component } = family.denoising;
  const denoiser = openNetwork(join(folder, component), variant);
  const notes: string[] = [];
  if (configFrom !== undefined && savedBy.length === 0)
    notes.push(`configFrom ${configFrom} has no effect: the model has its own configs.`);
  const { lostBias } = family.components[component]?.savedNames ?? {};
  const lost = lostBias && lacksBias(denoiser, lostBias) ? lostBias : null;
  const original = lost && originalOf(join(configs, component), lost);
  if (lost) notes.push(noteOf(lost, original));
  return {
    family,
    folder,
    configs,
    original,
    storedBits: storedBits(denoiser),
    notes,
    origin: originOf(folder),
    denoiser: null,
  };
}

/** Whether mflux saved the network in a folder, and saved it without a config. */
const lacksConfig = (folder: string, variant: string | undefined): boolean =>
  isFolder(folder) && !existsSync(join(folder, configFile)) && isSaved(openNetwork(folder, variant));

const noteOf = ({ layer, savedBy }: LostBias, original: string | null): string =>
  original
    ? `${layer}.bias is missing, as in models saved by ${savedBy}: it is read from ${original}.`
    : `${layer}.bias is missing, as in models saved by ${savedBy}: it is replaced by zeros, so images differ from the original model's. Set configFrom to a folder with the original weights to restore it.`;

/**
 * Finds the configs for a model that mflux saved without them.
 * @throws {ModelError} when it belongs to another family, or the configs contradict the shapes of its tensors.
 */
function configsFor(folder: string, family: Family, configFrom: string | undefined): string {
  for (const component of componentNames(family))
    if (!isFolder(join(folder, component)))
      throw new ModelError(folder, `the folder ${component} is missing; copy everything that mflux saved`);
  const fromShapes = family.configsFromShapes?.(folder);
  if (!fromShapes && configFrom === undefined)
    throw needsConfigFrom(folder, "mflux saved it without configs, which its shapes do not replace");
  const configs = configFrom ?? family.publishedConfigs;
  const refusal = family.refusal(folder, configs);
  if (refusal) throw refusal;
  const contradiction = findContradiction(fromShapes ?? {}, configs);
  if (contradiction === null) return configs;
  throw needsConfigFrom(
    folder,
    configFrom !== undefined
      ? `its weights do not match the configs in ${configFrom}: ${contradiction}`
      : `mflux saved it without configs, and its shapes differ from the published ${family.name} (${contradiction})`,
  );
}

const needsConfigFrom = (folder: string, reason: string): ModelError =>
  new ModelError(folder, reason, {
    details: {
      remedies: [
        {
          kind: "set-option",
          option: "configFrom",
          purpose: "name the folder or repository it was made from",
        },
      ],
    },
  });

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

/** The folder, if it has weights with the lost bias; otherwise null. */
function originalOf(folder: string, { layer }: LostBias): string | null {
  if (!readdirSync(folder).some(isWeightFile)) return null;
  return openCheckpoint(folder).entries.has(`${layer}.bias`) ? folder : null;
}
