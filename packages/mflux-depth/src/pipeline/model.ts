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
import { type ModelFiles, openModelFiles } from "../families/model-files.js";
import { readConfig } from "../files/json.js";
import { type ObtainOptions, obtainRepository } from "../hub/obtain.js";
import type { Repository } from "../hub/repository.js";
import { quantizingCacheBytes, restingCacheBytes } from "../memory/buffer-cache.js";
import type { Bits, ResolvedLoadOptions } from "../options/index.js";
import { Component, type ComponentOptions, type LoadProgress } from "../weights/component.js";
import { variantIn } from "../weights/weight-files.js";
import { choosePrecision, type Precision, useInt8Products } from "./precision.js";

/** A model that has been found: its configs and file headers are readable, its weights are not loaded. */
export interface FoundModel {
  readonly repository: Repository;
  readonly files: ModelFiles;
}

/**
 * Finds a model, downloads missing files, and reads its configs and file headers.
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
    throw new ModelError(found.folder, `no component has weights of the variant ${JSON.stringify(variant)}`);
  return { repository: { ...found, revision: found.revision ?? files.origin?.revision ?? undefined }, files };
}

/** Notes that quantize has no effect when the weights are stored with other bits. */
export function quantizeNotes(stored: Bits | null, requested: Bits | "none" | null | undefined): string[] {
  if (stored === null || requested === undefined || requested === stored) return [];
  return [`quantize is ${requested ?? "none"}, without effect: the weights are stored with ${stored} bits.`];
}

/** The components of a model; their weights are read when a stage first needs them. */
export type Components = { readonly [Name in ComponentName]: Component<Networks[Name]> };

/** A model whose weights are read on demand. */
export interface Model {
  readonly family: Family;
  readonly folder: string;
  readonly configs: ModelConfigs;
  readonly components: Components;
  readonly precision: Precision;
  readonly device: DeviceType;
  /** Time spent reading weights so far. */
  readonly loading: { seconds: number };
  /** Counts and reports the reading of weights, of other networks too. */
  readonly onLoad: (progress: LoadProgress) => void;
}

export interface OpenOptions {
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Changes networks between loading and their first use, for adapters and replaced weights. */
  readonly prepare?:
    | { readonly [Name in ComponentName]?: ComponentOptions<Networks[Name]>["prepare"] }
    | undefined;
}

/**
 * Opens a model: reads its configs, no weights.
 * @throws {ModelError} when a config is missing, damaged, or belongs to another model.
 * @throws {OptionError} when 8-bit inputs are requested and the machine cannot multiply them.
 */
export function openModel(
  files: ModelFiles,
  options: ResolvedLoadOptions,
  device: DeviceType,
  { onProgress, prepare = {} }: OpenOptions = {},
): Model {
  const { family, folder } = files;
  const configs = readConfigs(files);
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
    return new Component<Networks[Name]>({
      ...shared,
      name,
      folder: join(folder, name),
      build: () => buildNetwork(descriptor, configs[name], precision),
      ...(rename && { rename }),
      ...(name === "transformer" && { original: files.original }),
      dtype:
        descriptor.float32InsteadOfFloat16 && precision.dtype === "float16" ? "float32" : precision.dtype,
      prepare: prepare[name] as ComponentOptions<Networks[Name]>["prepare"],
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

function readConfigs({ family, configs: folder }: ModelFiles): ModelConfigs {
  const read = <Config>(
    name: string,
    file: string,
    readConfigOf: (json: unknown, source: string) => Config,
  ): Config => readConfigOf(readConfig(join(folder, name), file), join(folder, name, file));
  const { components, readSchedulerConfig } = family;
  const configs: ModelConfigs = {
    text_encoder: read("text_encoder", "config.json", components.text_encoder.readConfig),
    text_encoder_2: read("text_encoder_2", "config.json", components.text_encoder_2.readConfig),
    transformer: read("transformer", "config.json", components.transformer.readConfig),
    vae: read("vae", "config.json", components.vae.readConfig),
    scheduler: read("scheduler", "scheduler_config.json", readSchedulerConfig),
  };
  requireMatchingWidths(join(folder, "transformer", "config.json"), configs);
  return configs;
}

/** @throws {ModelError} when the transformer takes embeddings of another width than the text encoders produce. */
function requireMatchingWidths(
  source: string,
  { transformer, text_encoder, text_encoder_2 }: ModelConfigs,
): void {
  const pairs = [
    ["joint_attention_dim", transformer.jointAttentionDim, "text_encoder_2's d_model", text_encoder_2.dModel],
    [
      "pooled_projection_dim",
      transformer.pooledProjectionDim,
      "text_encoder's hidden_size",
      text_encoder.hiddenSize,
    ],
  ] as const;
  for (const [key, width, otherKey, otherWidth] of pairs)
    if (width !== otherWidth)
      throw new ModelError(
        source,
        `${key} is ${width}, but ${otherKey} is ${otherWidth}; these components belong to different models`,
      );
}
