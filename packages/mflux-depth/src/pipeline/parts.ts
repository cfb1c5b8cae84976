import { join } from "node:path";
import type { DeviceType, DType } from "@mflux-depth/mlx";
import {
  canMultiplyIntegers,
  type Module,
  multipliesStored,
  setAttentionProducts,
  setQuantizedProducts,
} from "@mflux-depth/mlx/nn";
import { ModelError, OptionError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { type ObtainOptions, obtainRepository } from "../hub/obtain.js";
import type { Repository } from "../hub/repository.js";
import { readingCacheBytes, restingCacheBytes } from "../memory/plan.js";
import { Autoencoder, autoencoderConfig } from "../models/autoencoder.js";
import { ClipTextEncoder, clipTextConfig } from "../models/clip.js";
import { FluxTransformer, fluxTransformerConfig } from "../models/flux-transformer.js";
import { T5Encoder, t5Config } from "../models/t5.js";
import type { Bits, ResolvedLoadOptions } from "../options/index.js";
import { type SchedulerConfig, schedulerConfig } from "../sampling/schedule.js";
import { Component, type LoadProgress } from "../weights/component.js";
import { variantIn } from "../weights/files.js";
import { components } from "../weights/mflux.js";
import { type ModelFiles, openModel } from "../weights/saved.js";

/**
 * Finds a model, downloads what is missing of it, and looks at its configs and headers.
 * @throws {ModelError} when it is not there, is another one, cannot be downloaded, or is damaged.
 */
export async function findModel(
  options: ResolvedLoadOptions,
  { signal, onProgress }: Pick<ObtainOptions, "signal" | "onProgress"> = {},
): Promise<{
  model: Repository;
  files: ModelFiles;
}> {
  const { configFrom, offline, variant, allowPatterns: allow, ignorePatterns: ignore } = options;
  const model = await obtainRepository(
    { ...options, patterns: { allow, ignore } },
    { kind: "FLUX.1 Depth", offline, signal, onProgress },
  );
  const configs =
    configFrom !== undefined &&
    (await obtainRepository({ model: configFrom }, { kind: "FLUX.1 configs", offline, signal, onProgress }));
  const files = openModel(model.folder, configs ? configs.folder : undefined, variant);
  if (variant !== undefined && !components.some((part) => variantIn(join(model.folder, part), variant)))
    throw new ModelError(model.folder, `no component has weights of the variant ${JSON.stringify(variant)}`);
  return { model: { ...model, revision: model.revision ?? files.origin?.revision ?? undefined }, files };
}

/** What to say when other bits were asked for than the weights are stored with. */
export function bitsNote(stored: Bits | null, asked: Bits | "none" | null | undefined): string[] {
  if (stored === null || asked === undefined || asked === stored) return [];
  return [`quantize is ${asked ?? "none"}, without effect: the weights are stored with ${stored} bits.`];
}

/** The model's parts, their weights not yet read. */
export interface Parts {
  readonly clip: Component<ClipTextEncoder>;
  readonly t5: Component<T5Encoder>;
  readonly autoencoder: Component<Autoencoder>;
  readonly transformer: Component<FluxTransformer>;
  readonly t5Config: ReturnType<typeof t5Config>;
  readonly autoencoderConfig: ReturnType<typeof autoencoderConfig>;
  readonly transformerConfig: ReturnType<typeof fluxTransformerConfig>;
  readonly schedule: SchedulerConfig;
  readonly dtype: DType;
  /** Bits of the matrices as they are held: what they are stored with, else what was asked for. */
  readonly bits: Bits | null;
  /** Whether products are of integers where weights are quantized, and attention in bfloat16 where it can be. */
  readonly int8: boolean;
  /** Whether the weights are stored with those bits, so that no others can be had. */
  readonly bitsAreStored: boolean;
  /** Seconds spent on reading weights so far. */
  readonly loading: { seconds: number };
  readonly onProgress: (progress: LoadProgress) => void;
}

/**
 * Reads the configs of a model; no weights.
 * @throws {ModelError} when one is missing, damaged or of another model.
 * @throws {OptionError} when integer products are asked for where there are none.
 */
export function openParts(
  { folder, configs, original, storedBits }: ModelFiles,
  options: ResolvedLoadOptions,
  device: DeviceType,
  onProgress: ((progress: LoadProgress) => void) | undefined,
): Parts {
  const dtype = options.dtype ?? (device === "cpu" ? "float32" : "bfloat16");
  const bits = storedBits ?? options.quantize;
  const inFloats = device === "cpu" && dtype === "float32";
  const able = inFloats && canMultiplyIntegers(bits ?? undefined);
  if (options.int8 && !able)
    throw new OptionError(
      "int8",
      "int8 needs a Linux CPU that computes in float32, with AVX-512 VNNI or AVX-VNNI, or with AVX2 for weights of up to 6 bits; leave it out here.",
    );
  const int8 = options.int8 ?? (able && bits !== null);
  const multiplied = <M extends Module>(module: M): M => {
    if (int8) {
      setQuantizedProducts(module, "int8");
      setAttentionProducts(module, "bfloat16");
    }
    return module;
  };
  const loading = { seconds: 0 };
  const config = <C>(part: string, file: string, read: (json: unknown, source: string) => C): C =>
    read(readConfig(join(configs, part), file), join(configs, part, file));
  const shared = {
    bits: options.quantize,
    matricesAsStored: inFloats && multipliesStored(),
    variant: options.variant,
    cacheLimit:
      device === "cpu" && options.cacheLimitGb === undefined
        ? { quantizing: readingCacheBytes(), resting: restingCacheBytes }
        : undefined,
    onProgress: (progress: LoadProgress): void => {
      loading.seconds += progress.seconds ?? 0;
      onProgress?.(progress);
    },
  };
  const clip = config("text_encoder", "config.json", clipTextConfig);
  const t5 = config("text_encoder_2", "config.json", t5Config);
  const autoencoder = config("vae", "config.json", autoencoderConfig);
  const transformer = config("transformer", "config.json", fluxTransformerConfig);
  requireSameWidths(join(configs, "transformer", "config.json"), [
    ["joint_attention_dim", transformer.jointAttentionDim, "text_encoder_2's d_model", t5.dModel],
    ["pooled_projection_dim", transformer.pooledProjectionDim, "text_encoder's hidden_size", clip.hiddenSize],
  ]);
  return {
    clip: new Component({
      ...shared,
      name: "text_encoder",
      folder: join(folder, "text_encoder"),
      build: () => new ClipTextEncoder(clip),
      rename: ClipTextEncoder.sanitize,
      dtype,
    }),
    t5: new Component({
      ...shared,
      name: "text_encoder_2",
      folder: join(folder, "text_encoder_2"),
      build: () => multiplied(new T5Encoder(t5)),
      rename: T5Encoder.sanitize,
      dtype,
    }),
    autoencoder: new Component({
      ...shared,
      name: "vae",
      folder: join(folder, "vae"),
      build: () => new Autoencoder(autoencoder),
      // The decoder's values outgrow float16.
      dtype: dtype === "float16" ? "float32" : dtype,
    }),
    transformer: new Component({
      ...shared,
      name: "transformer",
      folder: join(folder, "transformer"),
      build: () => multiplied(new FluxTransformer(transformer)),
      original,
      dtype,
    }),
    t5Config: t5,
    autoencoderConfig: autoencoder,
    transformerConfig: transformer,
    schedule: config("scheduler", "scheduler_config.json", schedulerConfig),
    dtype,
    bits,
    int8,
    bitsAreStored: storedBits !== null,
    loading,
    onProgress: shared.onProgress,
  };
}

/** @throws {ModelError} when the transformer takes texts of another width than the encoders give. */
function requireSameWidths(
  source: string,
  widths: readonly (readonly [taken: string, width: number, given: string, other: number])[],
): void {
  for (const [taken, width, given, other] of widths)
    if (width !== other)
      throw new ModelError(
        source,
        `${taken} is ${width}, but ${given} is ${other}; these are parts of different models`,
      );
}
