import { join } from "node:path";
import type { DeviceType } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import { aboutOption, ModelError, OptionError } from "../../errors.js";
import {
  type ComponentDescriptor,
  type ControlFamily,
  componentNames,
  type Family,
  type ModelConfigs,
} from "../../families/family.js";
import { kindFor } from "../../families/kinds.js";
import { readModelConfigs } from "../../families/model-configs.js";
import {
  type ModelFiles,
  openBaseFiles,
  openDenoiserFile,
  openModelFiles,
  recogniseFile,
} from "../../families/model-files.js";
import { controlFamilyOf } from "../../families/registry.js";
import { type ObtainOptions, obtainRepository } from "../../hub/obtain.js";
import { isBundled, type Repository } from "../../hub/repository.js";
import { type BufferCache, bufferCacheFor } from "../../memory/buffer-cache.js";
import { useInt8Products } from "../../models/int8-products.js";
import { defaultModel } from "../../options/defaults.js";
import type { Bits, ResolvedLoadOptions } from "../../options/index.js";
import { openAdapterFile } from "../../weights/adapters/adapter-file.js";
import { bytesPerValue, Component, type LoadProgress, type Preparation } from "../../weights/component.js";
import type { Checkpoint } from "../../weights/format.js";
import type { BlockOptions } from "../../weights/gguf/checkpoint.js";
import { openSingleFile } from "../../weights/single-file.js";
import { variantIn } from "../../weights/weight-files.js";
import { cacheLimitOf } from "./device.js";
import { findLora } from "./lora-source.js";
import { Loras } from "./loras.js";
import { choosePrecision, componentDType, type Precision } from "./precision.js";
import { findFile, isCheckpointFile } from "./single-file-source.js";
import { ModelTokenizers } from "./tokenizers.js";

/** Paths of components that have their own files, by component. */
export type ComponentFiles = Readonly<Record<string, string>>;

/** A model on this machine. Its configs and file headers can be read; no weights are loaded. */
export interface FoundModel {
  readonly repository: Repository;
  readonly files: ModelFiles;
  /** The files of components given by the options, by component. */
  readonly ownFiles: ComponentFiles;
}

/**
 * Finds a model, downloads missing files, and checks that a family recognises it.
 * @throws {ModelError} when it does not exist, no family recognises it, it cannot be downloaded, or it is damaged.
 */
export async function findModel(
  options: ResolvedLoadOptions,
  obtaining: Pick<ObtainOptions, "signal" | "onProgress"> = {},
): Promise<FoundModel> {
  const found = await findFiles(options, obtaining);
  return { ...found, ownFiles: await findOwnFiles(options, found.files, obtaining) };
}

/**
 * Finds the text encoders and the autoencoder given by the options.
 * @throws {ModelError} when one does not exist or cannot be downloaded.
 */
async function findOwnFiles(
  { textEncoder, textEncoder2, vae, offline }: ResolvedLoadOptions,
  { family }: ModelFiles,
  obtaining: Pick<ObtainOptions, "signal" | "onProgress">,
): Promise<ComponentFiles> {
  const named = [
    [family.text[0]?.component, textEncoder],
    [family.text[1]?.component, textEncoder2],
    [family.autoencoding.component, vae],
  ] as const;
  const files: Record<string, string> = {};
  for (const [component, source] of named)
    if (source !== undefined && component !== undefined)
      files[component] = (await findFile(source, { ...obtaining, offline })).path;
  return files;
}

async function findFiles(
  options: ResolvedLoadOptions,
  { signal, onProgress }: Pick<ObtainOptions, "signal" | "onProgress">,
): Promise<Omit<FoundModel, "ownFiles">> {
  const { model, revision, configFrom, offline, variant } = options;
  const { allowPatterns: allow, ignorePatterns: ignore } = options;
  if (revision !== undefined && isBundled(model))
    throw new ModelError(
      model,
      `has no revision ${JSON.stringify(revision)}, because it is part of this package`,
      {
        details: { remedies: [{ kind: "omit-option", option: "revision" }] },
      },
    );
  const base = await controlFamilyAmong(options, { signal, onProgress }).catch(aboutOption("loras"));
  if (isCheckpointFile(model)) return findDenoiser(options, base, { signal, onProgress });
  const found = await obtainRepository(
    { ...options, patterns: { allow, ignore } },
    { kind: base ? kindFor.base : kindFor.generation, offline, signal, onProgress },
  );
  const configs =
    configFrom !== undefined &&
    (await obtainRepository({ model: configFrom }, { kind: kindFor.configs, offline, signal, onProgress }));
  const files = base
    ? openBaseFiles(found.folder, base, variant)
    : openModelFiles(found.folder, configs ? configs.folder : undefined, variant);
  if (
    variant !== undefined &&
    !componentNames(files.family).some((name) => variantIn(join(found.folder, name), variant))
  )
    throw new ModelError(found.folder, `no component has weights of the variant ${JSON.stringify(variant)}`, {
      details: { remedies: [{ kind: "omit-option", option: "variant" }] },
    });
  return { repository: { ...found, revision: found.revision ?? files.origin?.revision ?? undefined }, files };
}

/**
 * Finds the family to whose base model one of the LoRAs adds depth control; null if none does.
 * @throws {ModelError} when one does not exist, cannot be downloaded, or is damaged.
 */
export async function controlFamilyAmong(
  { loras, offline }: Pick<ResolvedLoadOptions, "loras" | "offline">,
  obtaining: Pick<ObtainOptions, "signal" | "onProgress">,
): Promise<ControlFamily | null> {
  for (const { source } of loras) {
    const { path } = await findLora(source, { ...obtaining, offline });
    const family = controlFamilyOf(openAdapterFile(path));
    if (family) return family;
  }
  return null;
}

/**
 * Finds a denoising network in one file, and the other components of its model.
 * @throws as {@link findModel}.
 */
async function findDenoiser(
  { model, componentsFrom, offline, revision, variant }: ResolvedLoadOptions,
  base: ControlFamily | null,
  { signal, onProgress }: Pick<ObtainOptions, "signal" | "onProgress">,
): Promise<Omit<FoundModel, "ownFiles">> {
  const obtaining = { offline, signal, onProgress };
  const file = await findFile(model, { ...obtaining, revision });
  // Another file is refused before the components are downloaded. If they are the published ones, so are their configs.
  const checkpoint = openSingleFile(file.path);
  if (componentsFrom === undefined) recogniseFile(checkpoint, { base });
  const components = await obtainRepository(
    { model: componentsFrom ?? defaultModel, variant },
    { ...obtaining, kind: kindFor.components },
  );
  const files = openDenoiserFile(file.path, components.folder, base);
  const note = `All other components are those of ${components.name}.`;
  return {
    repository: { name: file.name, folder: components.folder, revision: file.revision ?? undefined },
    files: { ...files, notes: [...files.notes, note] },
  };
}

/**
 * One sentence if `quantize` has no effect, because the weights are stored with other bits.
 * @param requested the option given by the user; undefined or null if omitted.
 */
export function quantizeNotes(stored: Bits | null, requested: Bits | "none" | null | undefined): string[] {
  if (stored === null || requested === undefined || requested === stored) return [];
  return [`quantize ${requested ?? "none"} has no effect: the weights are stored with ${stored} bits.`];
}

/** The networks of a model, by component. Weights are read when a stage first needs them. */
export type Components = Readonly<Record<string, Component<Module>>>;

/** An open model: configs are read, weights are read on demand. */
export interface Model {
  readonly family: Family;
  /** The folder with weights and tokenizers. */
  readonly folder: string;
  readonly configs: ModelConfigs;
  readonly components: Components;
  readonly tokenizers: ModelTokenizers;
  readonly loras: Loras;
  readonly precision: Precision;
  readonly device: DeviceType;
  /** Limits of MLX's cache of freed buffers; null if MLX's own limit applies. */
  readonly bufferCache: BufferCache | null;
  /** The time spent reading weights so far. */
  readonly loading: { seconds: number };
  /** Adds to `loading` and reports progress. The depth estimator also calls it. */
  readonly onLoad: (progress: LoadProgress) => void;
}

/** The preparations of a model's networks, by component: "transformer". */
export type Preparations = Readonly<Record<string, Preparation>>;

export interface OpenModelOptions {
  /** The files of components that come from outside the model, by component. */
  readonly ownFiles?: ComponentFiles | undefined;
  /** Attached to the components when they are loaded. */
  readonly loras?: Loras | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Changes networks between loading and their first use, after the LoRAs, by component. */
  readonly prepare?: Preparations | undefined;
}

/**
 * Opens a model: reads its configs, but no weights.
 * @throws {ModelError} when a config is missing, damaged, or belongs to another model.
 * @throws {OptionError} if 8-bit inputs are requested but not supported by the machine, or `prepare` names a component
 * that the model lacks.
 */
export function openModel(
  files: ModelFiles,
  options: ResolvedLoadOptions,
  device: DeviceType,
  { onProgress, loras = Loras.none, ownFiles = {}, prepare = {} }: OpenModelOptions = {},
): Model {
  const { family, folder } = files;
  refusePreparations(prepare, family);
  const configs = readModelConfigs(files);
  const precision = choosePrecision(options, device, files.storedBits);
  const loading = { seconds: 0 };
  const onLoad = (progress: LoadProgress): void => {
    loading.seconds += progress.seconds ?? 0;
    onProgress?.(progress);
  };
  const bufferCache = bufferCacheFor(device, cacheLimitOf(options));
  const shared = {
    bits: options.quantize,
    matricesAsStored: precision.matricesAsStored,
    variant: options.variant,
    bufferCache,
    onProgress: onLoad,
  };
  const component = (name: string, descriptor: ComponentDescriptor): Component<Module> => {
    const { rename, savedNames } = descriptor;
    const dtype = componentDType(descriptor, precision);
    return new Component({
      ...shared,
      name,
      folder: join(folder, name),
      file: name === family.denoising.component ? files.denoiser : ownFile(descriptor, ownFiles[name]),
      build: () => buildNetwork(descriptor, configs[name], precision),
      ...(rename && { rename }),
      ...(savedNames && { savedNames }),
      ...(name === family.denoising.component && { original: files.original }),
      dtype,
      prepare: inTurn(loras.preparation(name, bytesPerValue(dtype)), prepare[name]),
    });
  };
  return {
    family,
    folder,
    configs,
    components: Object.fromEntries(
      Object.entries(family.components).map(([name, descriptor]) => [name, component(name, descriptor)]),
    ),
    tokenizers: new ModelTokenizers(folder, configs),
    loras,
    precision,
    device,
    bufferCache,
    loading,
    onLoad,
  };
}

/** @throws {OptionError} for a preparation of an unknown component, or one without bytes or code. */
function refusePreparations(prepare: Preparations, family: Family): void {
  const names = componentNames(family);
  for (const [name, preparation] of Object.entries(prepare)) {
    if (!names.includes(name))
      throw new OptionError(
        "prepare",
        `prepare names the component ${name}; this model has ${names.join(", ")}.`,
      );
    if (!(preparation.bytes >= 0) || typeof preparation.apply !== "function")
      throw new OptionError(
        "prepare",
        `prepare for ${name} must have bytes, a number from 0 up, and apply, a function.`,
      );
  }
}

/** The separate file with a component's weights; null if they are in its folder. */
const ownFile = (
  descriptor: ComponentDescriptor,
  path: string | undefined,
): { readonly path: string; open(options?: BlockOptions): Checkpoint } | null =>
  path !== undefined && descriptor.openFile
    ? { path, open: (options) => descriptor.openFile!(path, options) }
    : null;

/** Combines preparations in order; undefined if there are none. */
function inTurn(...given: (Preparation | undefined)[]): Preparation | undefined {
  const preparations = given.filter((one) => one !== undefined);
  if (preparations.length === 0) return undefined;
  return {
    bytes: preparations.reduce((sum, { bytes }) => sum + bytes, 0),
    working: Math.max(...preparations.map(({ working = 0 }) => working)),
    async apply(...to) {
      for (const one of preparations) await one.apply(...to);
    },
    // Only LoRAs can be merged, and saving takes no other preparations.
    ...(preparations[0]!.merging && { merging: preparations[0]!.merging }),
  };
}

function buildNetwork(descriptor: ComponentDescriptor, config: unknown, precision: Precision): Module {
  const network = descriptor.build(config);
  return descriptor.int8 && precision.int8 ? useInt8Products(network) : network;
}
