import { join } from "node:path";
import type { DeviceType } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import { ModelError } from "../errors.js";
import {
  type ComponentDescriptor,
  type ComponentName,
  componentNames,
  type Family,
  type ModelConfigs,
  type Networks,
} from "../families/family.js";
import { kindFor } from "../families/kinds.js";
import { readModelConfigs } from "../families/model-configs.js";
import { type ModelFiles, openModelFiles } from "../families/model-files.js";
import { type ObtainOptions, obtainRepository } from "../hub/obtain.js";
import type { Repository } from "../hub/repository.js";
import { quantizingCacheBytes, restingCacheBytes } from "../memory/buffer-cache.js";
import type { Bits, ResolvedLoadOptions } from "../options/index.js";
import { bytesPerValue, Component, type ComponentOptions, type LoadProgress } from "../weights/component.js";
import { variantIn } from "../weights/weight-files.js";
import { Loras } from "./loras.js";
import { choosePrecision, componentDType, type Precision, useInt8Products } from "./precision.js";

/** A model on this machine. Its configs and file headers can be read; no weights are loaded. */
export interface FoundModel {
  readonly repository: Repository;
  readonly files: ModelFiles;
}

/**
 * Finds a model, downloads missing files, and checks that a family recognises it.
 * @throws {ModelError} when it does not exist, no family recognises it, it cannot be downloaded, or it is damaged.
 */
export async function findModel(
  options: ResolvedLoadOptions,
  { signal, onProgress }: Pick<ObtainOptions, "signal" | "onProgress"> = {},
): Promise<FoundModel> {
  const { configFrom, offline, variant, allowPatterns: allow, ignorePatterns: ignore } = options;
  const found = await obtainRepository(
    { ...options, patterns: { allow, ignore } },
    { kind: kindFor.generation, offline, signal, onProgress },
  );
  const configs =
    configFrom !== undefined &&
    (await obtainRepository({ model: configFrom }, { kind: kindFor.configs, offline, signal, onProgress }));
  const files = openModelFiles(found.folder, configs ? configs.folder : undefined, variant);
  if (variant !== undefined && !componentNames.some((name) => variantIn(join(found.folder, name), variant)))
    throw new ModelError(
      found.folder,
      `no component has weights of the variant ${JSON.stringify(variant)}; choose another, or omit variant`,
    );
  return { repository: { ...found, revision: found.revision ?? files.origin?.revision ?? undefined }, files };
}

/**
 * One sentence if `quantize` has no effect, because the weights are stored with other bits.
 * @param requested the option as the user gave it; undefined or null if they did not.
 */
export function quantizeNotes(stored: Bits | null, requested: Bits | "none" | null | undefined): string[] {
  if (stored === null || requested === undefined || requested === stored) return [];
  return [`quantize ${requested ?? "none"} has no effect: the weights are stored with ${stored} bits.`];
}

/** The networks of a model. Weights are read when a stage first needs them. */
export type Components = { readonly [Name in ComponentName]: Component<Networks[Name]> };

/** An open model: configs are read, weights are read on demand. */
export interface Model {
  readonly family: Family;
  /** The folder with weights and tokenizers. */
  readonly folder: string;
  readonly configs: ModelConfigs;
  readonly components: Components;
  readonly loras: Loras;
  readonly precision: Precision;
  readonly device: DeviceType;
  /** The time spent reading weights so far. */
  readonly loading: { seconds: number };
  /** Adds to `loading` and reports progress. The depth estimator calls it too. */
  readonly onLoad: (progress: LoadProgress) => void;
}

export interface OpenOptions {
  /** Attached to the components when they are loaded. */
  readonly loras?: Loras | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Changes networks between loading and their first use, after the LoRAs: attaches adapters, or replaces weights. */
  readonly prepare?:
    | { readonly [Name in ComponentName]?: ComponentOptions<Networks[Name]>["prepare"] }
    | undefined;
}

/**
 * Opens a model: reads its configs, but no weights.
 * @throws {ModelError} when a config is missing, damaged, or belongs to another model.
 * @throws {OptionError} when 8-bit inputs are requested and the machine cannot multiply them.
 */
export function openModel(
  files: ModelFiles,
  options: ResolvedLoadOptions,
  device: DeviceType,
  { onProgress, loras = Loras.none, prepare = {} }: OpenOptions = {},
): Model {
  const { family, folder } = files;
  const configs = readModelConfigs(files);
  const precision = choosePrecision(options, device, files.storedBits);
  const loading = { seconds: 0 };
  const onLoad = (progress: LoadProgress): void => {
    loading.seconds += progress.seconds ?? 0;
    onProgress?.(progress);
  };
  const cachesFreely = device === "cpu" && options.cacheLimitGb === undefined;
  const shared = {
    bits: options.quantize,
    matricesAsStored: precision.matricesAsStored,
    variant: options.variant,
    cacheLimit: cachesFreely ? { quantizing: quantizingCacheBytes(), resting: restingCacheBytes } : undefined,
    onProgress: onLoad,
  };
  const component = <Name extends ComponentName>(name: Name): Component<Networks[Name]> => {
    const descriptor = family.components[name] as ComponentDescriptor<ModelConfigs[Name], Networks[Name]>;
    const { rename } = descriptor;
    const dtype = componentDType(descriptor, precision);
    const prepareMore = prepare[name] as ComponentOptions<Networks[Name]>["prepare"];
    return new Component<Networks[Name]>({
      ...shared,
      name,
      folder: join(folder, name),
      build: () => buildNetwork(descriptor, configs[name], precision),
      ...(rename && { rename }),
      ...(name === "transformer" && { original: files.original }),
      dtype,
      preparedBytes: loras.bytes(name, bytesPerValue(dtype)),
      async prepare(network, signal, stored) {
        await loras.attach(name, network, signal, stored);
        await prepareMore?.(network, signal, stored);
      },
    });
  };
  return {
    family,
    folder,
    configs,
    components: {
      text_encoder: component("text_encoder"),
      text_encoder_2: component("text_encoder_2"),
      transformer: component("transformer"),
      vae: component("vae"),
    },
    loras,
    precision,
    device,
    loading,
    onLoad,
  };
}

function buildNetwork<Config, Network extends Module>(
  { build, int8 = false }: ComponentDescriptor<Config, Network>,
  config: Config,
  precision: Precision,
): Network {
  const network = build(config);
  return int8 && precision.int8 ? useInt8Products(network) : network;
}
