/* Identifies a file, a folder or a repository, and tells whether it would load here, from headers and configs alone. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { estimatorDescriptions } from "../depth/descriptions.js";
import { openEstimator } from "../depth/open.js";
import { ModelError } from "../errors.js";
import { type ControlFamily, componentNames, type Family } from "../families/family.js";
import { readModelConfigs } from "../families/model-configs.js";
import { type ModelFiles, recogniseFile } from "../families/model-files.js";
import { controlFamilyOf, families } from "../families/registry.js";
import { isFolder } from "../files/folders.js";
import { readConfig } from "../files/json.js";
import { configFile, modelIndexFile } from "../files/repository-layout.js";
import { resolveRepository } from "../hub/repository.js";
import { defaultModel } from "../options/defaults.js";
import {
  type Bits,
  type LoadOptions,
  type MemoryPolicy,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import { type AdapterFile, isAdapterFile, openAdapterFile } from "../weights/adapters/adapter-file.js";
import type { AdapterForm } from "../weights/adapters/form.js";
import {
  type AdapterMatch,
  describeProblems,
  type MatchedLayer,
  type MatchedReplacement,
  matchAdapter,
} from "../weights/adapters/match.js";
import { trainingOf } from "../weights/adapters/scaling.js";
import type { AdapterNames } from "../weights/adapters/targets.js";
import { openCheckpoint } from "../weights/checkpoint.js";
import { isSaved, storedBits } from "../weights/mflux.js";
import { openSingleFile } from "../weights/single-file.js";
import { statisticsOf, type WeightStatistics } from "../weights/statistics.js";
import { isWeightFile, variantIn } from "../weights/weight-files.js";
import { findLora } from "./model/lora-source.js";
import { findModel } from "./model/model.js";
import { findFile, isCheckpointFile } from "./model/single-file-source.js";
import { planModel } from "./plan.js";

/** One component of a model, as stored. */
export interface InspectedComponent extends WeightStatistics {
  readonly name: string;
  /** Bits of its matrices; null if they are not quantized. */
  readonly bits: Bits | null;
}

/** Whether a model would load here and generate an image of the default size, with the given options. */
export interface InspectedFit {
  readonly fits: boolean;
  /** Bytes. */
  readonly peak: number;
  /** Bytes. */
  readonly available: number;
  readonly quantize: Bits | null;
  readonly memory: MemoryPolicy;
}

export interface InspectedModel {
  readonly kind: "model";
  readonly name: string;
  readonly folder: string;
  readonly revision: string | null;
  /** "FLUX.1 Depth". */
  readonly family: string;
  /** The program whose layout the files have. */
  readonly layout: "diffusers" | "mflux";
  readonly components: readonly InspectedComponent[];
  readonly fit: InspectedFit;
  readonly notes: readonly string[];
}

export interface InspectedEstimator extends WeightStatistics {
  readonly kind: "depth-estimator";
  readonly name: string;
  readonly folder: string;
  /** "Depth Pro". */
  readonly estimator: string;
}

/** The layers of one component that an adapter changes. */
export interface AdaptedComponent {
  readonly name: string;
  readonly layers: number;
  /** Parameters that are replaced. */
  readonly replaced: number;
  /** Layers by the form of their change. */
  readonly forms: Readonly<Partial<Record<AdapterForm["kind"] | "dora", number>>>;
  /** The lowest and highest rank among layers that have one. */
  readonly ranks: readonly [least: number, most: number] | null;
}

export interface InspectedAdapter extends WeightStatistics {
  readonly kind: "adapter";
  readonly name: string;
  readonly path: string;
  readonly sha256: string;
  /** The programs that use the keys' names. */
  readonly writtenBy: readonly string[];
  readonly rankStabilized: boolean;
  /**
   * Whether it makes the family's base model accept control images, like Black Forest Labs' depth LoRA for FLUX.1-dev.
   */
  readonly isControl: boolean;
  /** The model that it was compared with: "FLUX.1 Depth", or the name of the given model. */
  readonly model: string;
  readonly components: readonly AdaptedComponent[];
  /** Whether every key fits the model. */
  readonly fits: boolean;
  /** Describes mismatches in one sentence; null if there are none. */
  readonly problems: string | null;
}

/** A denoising network in one file. */
export interface InspectedCheckpoint extends WeightStatistics {
  readonly kind: "checkpoint";
  readonly name: string;
  readonly path: string;
  /** "FLUX.1 Depth". */
  readonly family: string;
  /** Its component in a model: "transformer". */
  readonly component: string;
  /** Its config, derived from shapes. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Its config in words. */
  readonly summary: readonly (readonly [label: string, value: string])[];
  /** Null if the other components are not on this machine. */
  readonly fit: InspectedFit | null;
  readonly notes: readonly string[];
}

export type Inspection = InspectedCheckpoint | InspectedModel | InspectedEstimator | InspectedAdapter;

/**
 * Inspects a file, a folder or a repository that is on this machine. Reads no weights and downloads nothing.
 * @param options how to load a model; for an adapter, `options.model` is the model to compare it with, by default the
 * published one.
 * @throws {ModelError} when it does not exist here, is damaged, or is of a kind that this library does not read.
 */
export async function inspect(name: string, options: LoadOptions = {}): Promise<Inspection> {
  if (isCheckpointFile(name)) {
    const { path } = await findFile(name, { offline: true });
    return isWeightFile(path) && isAdapterFile(path)
      ? inspectAdapter(name, options)
      : inspectFile(name, options);
  }
  const { folder } = resolveRepository(name);
  const hasDenoiser = families.some(({ denoising }) => isFolder(join(folder, denoising.component)));
  if (hasDenoiser || existsSync(join(folder, modelIndexFile)))
    return inspectModel({ ...options, model: name });
  if (isEstimator(folder)) return inspectEstimator(name, folder);
  return inspectAdapter(name, options);
}

async function inspectFile(name: string, options: LoadOptions): Promise<InspectedCheckpoint> {
  const { path, name: shown } = await findFile(name, { offline: true });
  const checkpoint = openSingleFile(path);
  const { fit, loaded, notes } = await fitOf(name, options);
  const { family, config } = loaded ?? recogniseFile(checkpoint);
  return {
    kind: "checkpoint",
    name: shown,
    path,
    family: family.name,
    component: family.denoising.component,
    config,
    summary: family.singleFile?.describe(config) ?? [],
    ...statisticsOf(checkpoint.entries.values()),
    fit,
    notes,
  };
}

/** Whether a file would load with the other components on this machine; if they are here, also its family and config. */
async function fitOf(
  model: string,
  options: LoadOptions,
): Promise<{
  fit: InspectedFit | null;
  loaded: { family: Family; config: InspectedCheckpoint["config"] } | null;
  notes: readonly string[];
}> {
  const resolved = resolveLoadOptions({ ...options, model, offline: true });
  try {
    resolveRepository(resolved.componentsFrom ?? defaultModel);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { fit: null, loaded: null, notes: [`The other components are not here: ${error.message}`] };
  }
  const { files } = await findModel(resolved);
  const plan = await planModel(resolved, resolveRequest({ prompt: "any", depthImage: "any" }));
  return {
    fit: {
      fits: plan.fits,
      peak: plan.peak,
      available: plan.machine.available,
      quantize: resolved.quantize,
      memory: resolved.memory,
    },
    loaded: files.denoiser && { family: files.family, config: files.denoiser.config },
    notes: [...new Set([...files.notes, ...plan.notes])],
  };
}

async function inspectModel(options: LoadOptions): Promise<InspectedModel> {
  const resolved = resolveLoadOptions({ ...options, offline: true });
  const { repository, files } = await findModel(resolved);
  const { family, folder } = files;
  const notes = [...files.notes, ...savedLoras(files)];
  const components = componentNames(family).map((name): InspectedComponent => {
    const weights = join(folder, name);
    const checkpoint = openCheckpoint(weights, { variant: variantIn(weights, resolved.variant) });
    return { name, bits: storedBits(checkpoint), ...statisticsOf(checkpoint.entries.values()) };
  });
  const denoiser = join(folder, family.denoising.component);
  const saved = isSaved(openCheckpoint(denoiser, { variant: variantIn(denoiser, resolved.variant) }));
  const request = resolveRequest({ prompt: "any", depthImage: "any" });
  const plan = await planModel(resolved, request);
  return {
    kind: "model",
    name: repository.name,
    folder,
    revision: repository.revision ?? null,
    family: family.name,
    layout: saved ? "mflux" : "diffusers",
    components,
    fit: {
      fits: plan.fits,
      peak: plan.peak,
      available: plan.machine.available,
      quantize: files.storedBits ?? resolved.quantize,
      memory: resolved.memory,
    },
    notes: [...new Set([...notes, ...plan.notes])],
  };
}

/** A sentence about the LoRAs that were saved with a model. */
function savedLoras({ origin }: ModelFiles): string[] {
  const loras = (origin?.loras ?? []).map(({ source, scale }) => `${basename(source)} at ${scale}`);
  return loras.length > 0 ? [`Loading it uses the LoRAs in its folder: ${loras.join(", ")}.`] : [];
}

function isEstimator(folder: string): boolean {
  if (!existsSync(join(folder, configFile))) return false;
  const { model_type: type } = readConfig(folder, configFile);
  return estimatorDescriptions.some(({ modelType }) => modelType === type);
}

async function inspectEstimator(name: string, folder: string): Promise<InspectedEstimator> {
  using estimator = await openEstimator({ depthModel: folder });
  return {
    kind: "depth-estimator",
    name,
    folder,
    estimator: estimator.name,
    ...statisticsOf(openCheckpoint(folder).entries.values()),
  };
}

async function inspectAdapter(name: string, options: LoadOptions): Promise<InspectedAdapter> {
  const found = await findLora(name, { offline: true });
  const file = openAdapterFile(found.path);
  const control = controlFamilyOf(file);
  const { model, names, refusal } =
    options.model === undefined || options.model === null
      ? publishedModel(file, control)
      : await givenModel(options, control && name);
  const match = matchAdapter(file, names);
  const { layers, replacements, problems } = match;
  if (!namesLayers(match) && problems.every((one) => one.kind === "unknown" && one.reason === null))
    throw new ModelError(name, "its keys belong to no model that this program knows");
  return {
    kind: "adapter",
    name: found.name,
    path: found.path,
    sha256: found.sha256,
    ...statisticsOf(file.entries.values()),
    writtenBy: control
      ? [control.controlLora.writtenBy]
      : [...new Set(layers.map(({ target }) => target.writtenBy))],
    rankStabilized: trainingOf(file).rankStabilized,
    isControl: control !== null,
    model,
    components: adaptedComponents(layers, replacements),
    fits: refusal === null && problems.length === 0,
    problems: refusal ?? (problems.length > 0 ? describeProblems(problems) : null),
  };
}

/** Whether an adapter has keys for layers of the model, of the right shapes or not. */
const namesLayers = ({ layers, replacements, problems }: AdapterMatch): boolean =>
  layers.length + replacements.length > 0 || problems.some(({ kind }) => kind !== "unknown");

/** A model to compare an adapter with. */
interface ComparedModel {
  readonly model: string;
  readonly names: AdapterNames;
  /** Why a control LoRA cannot be used with this model. */
  readonly refusal: string | null;
}

/**
 * The published model of the first family whose layers an adapter has keys for, or of the first one if there is none.
 * @param control the only family to consider, with its base model.
 */
function publishedModel(file: AdapterFile, control: ControlFamily | null): ComparedModel {
  const candidates = (control ? [control] : families).map((family): ComparedModel => {
    const configs = readModelConfigs({ family, configs: family.publishedConfigs, denoiser: null });
    const { name } = (control && family.baseKind) ?? family;
    return { model: name, names: family.adapterNames(configs), refusal: null };
  });
  return candidates.find(({ names }) => namesLayers(matchAdapter(file, names))) ?? candidates[0]!;
}

/**
 * The model that the options give.
 * @param control a LoRA that needs the base model.
 */
async function givenModel(options: LoadOptions, control: string | null): Promise<ComparedModel> {
  const compared = async (loras: readonly string[], refusal: string | null): Promise<ComparedModel> => {
    const { repository, files } = await findModel(resolveLoadOptions({ ...options, loras, offline: true }));
    return { model: repository.name, names: files.family.adapterNames(readModelConfigs(files)), refusal };
  };
  if (control === null) return compared([], null);
  try {
    return await compared([control], null);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return compared([], error.message);
  }
}

function adaptedComponents(
  layers: readonly MatchedLayer[],
  replacements: readonly MatchedReplacement[],
): AdaptedComponent[] {
  const changed = [...layers.map(({ target }) => target), ...replacements];
  const names = [...new Set(changed.map(({ component }) => component))].sort();
  return names.map((name) => {
    const own = layers.filter(({ target }) => target.component === name);
    const forms: Partial<Record<AdapterForm["kind"] | "dora", number>> = {};
    const count = (form: keyof typeof forms): void => {
      forms[form] = (forms[form] ?? 0) + 1;
    };
    for (const { form, module } of own) {
      count(form.kind);
      if (module.tensors.has("magnitude")) count("dora");
    }
    const ranks = own.flatMap(({ form }) => form.rank ?? []);
    return {
      name,
      layers: own.length,
      replaced: replacements
        .filter(({ component }) => component === name)
        .reduce((sum, { parts }) => sum + parts.length, 0),
      forms,
      ranks: ranks.length > 0 ? [Math.min(...ranks), Math.max(...ranks)] : null,
    };
  });
}
